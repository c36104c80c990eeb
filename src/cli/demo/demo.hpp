// SPDX-License-Identifier: Apache-2.0
// `railyard demo`: a real Mixture-of-Experts layer on a real text, verified.
#pragma once

#include "cli/demo/options.hpp"
#include "cli/exit_status.hpp"

namespace railyard::cli::demo {

/// Runs, verifies and reports. Throws Error.
[[nodiscard]] ExitStatus run(const Options& options);

}  // namespace railyard::cli::demo
