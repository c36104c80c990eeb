// SPDX-License-Identifier: Apache-2.0
// `--launch processes`: this program as one process per rank.
#pragma once

#include "cli/exit_status.hpp"

#include <railyard/world.hpp>

#include <functional>

namespace railyard::cli::bench {

/// Forks a process for each rank, calls `run_rank` there with the world that they make, and returns when all have
/// ended: verified if all were, else failed. The first that fails (its message goes to standard error) or dies (which
/// this process says) ends the others; so does the end of this process. It must have no threads.
/// Throws Error{out_of_memory} if the system refuses a process.
[[nodiscard]] ExitStatus run_as_processes(int ranks, const std::function<ExitStatus(World& world, int rank)>& run_rank);

}  // namespace railyard::cli::bench
