// SPDX-License-Identifier: Apache-2.0
// The RAILYARD_ variables (docs/configuration.md). Read when a world is made, never cached, never changed.
#pragma once

#include "diagnostics/endpoint.hpp"

#include <railyard/log.hpp>
#include <railyard/types.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace railyard::diagnostics {

inline constexpr std::size_t kMaxSecretBytes = 256;  // what ranks send when they meet

struct Environment {
  std::optional<LogLevel> log_level;                // RAILYARD_LOG: off, error, warn, info, debug
  std::optional<std::chrono::nanoseconds> timeout;  // RAILYARD_TIMEOUT_S: seconds, (0, 1e6]
  int debug = 0;                                    // RAILYARD_DEBUG: 0, or 1: ranks compare every argument of a call
  GpuHandles gpu_handles = GpuHandles::fd;          // RAILYARD_GPU_HANDLES: fd, fabric
  std::optional<Endpoint> rendezvous;               // RAILYARD_RENDEZVOUS: HOST:PORT of `railyard rendezvous`
  std::string secret;                               // RAILYARD_SECRET: of a job of processes; empty: none
  std::optional<std::string> trace_file;            // RAILYARD_TRACE: a file name
};

/// Throws RY-ENVIRONMENT naming variable, value and what is accepted.
[[nodiscard]] Environment read_environment();

/// What read_environment throws, for each variable that it refuses.
[[nodiscard]] std::vector<std::string> environment_faults();

/// Variables that are set, begin with RAILYARD_, and are read by nothing: misspelt, perhaps.
[[nodiscard]] std::vector<std::string> unread_variables();

}  // namespace railyard::diagnostics
