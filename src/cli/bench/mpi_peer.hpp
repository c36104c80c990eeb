// SPDX-License-Identifier: Apache-2.0
// `--peers mpi`: the same exchange as pack, MPI_Alltoallv and reduce, by the program railyard_mpi_peer
// (bench/peers/mpi_peer.cpp) under mpirun, on processes as many as there are ranks. Its combine is there twice: named
// `mpi` it packs the rows of experts, named `mpi in place` it does not.
#pragma once

#include "cli/bench/options.hpp"
#include "cli/bench/result.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::cli::bench {

/// The peer's dispatch and combine for every count of tokens. Blocks; this process must have no threads. Throws
/// Error{unsupported} if mpirun or the peer's program is missing, Error{timeout} if it gives no sign of life for
/// two minutes, Error{rank_failed} if it fails.
[[nodiscard]] std::vector<Result> measure_mpi(const Options& options);

/// What the peer, started by `command`, writes to standard output. Empty lines before its answer are signs of life.
/// Throws as measure_mpi does; Error{timeout} after `silence`.
[[nodiscard]] std::string answer_of(std::vector<std::string> command, std::chrono::milliseconds silence);

/// What it answered. Throws Error{rank_failed} that says what is wrong with it.
[[nodiscard]] std::vector<Result> results_of(const Options& options, std::string_view answer);

}  // namespace railyard::cli::bench
