// SPDX-License-Identifier: Apache-2.0
// `railyard bench`: operations verified, then timed, beside the limits of the machine.
#pragma once

#include "cli/bench/options.hpp"
#include "cli/bench/result.hpp"
#include "cli/exit_status.hpp"

#include <railyard/world.hpp>

#include <cstdio>

namespace railyard::cli::bench {

/// Measures, prints, writes the JSON. Throws Error.
[[nodiscard]] ExitStatus run(const Options& options);

/// Adds the results for one count of tokens; explanations go to `stream`.
void measure_exchange(World& world, int tokens, std::FILE* stream, Run& run);

}  // namespace railyard::cli::bench
