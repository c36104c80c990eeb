// SPDX-License-Identifier: Apache-2.0
// Where log lines go: to a callback, or to stderr, where lines that nobody reads are dropped. The library never writes
// to stdout.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace railyard {

enum class LogLevel : std::uint8_t { debug, info, warn, error, off };

/// Receives every line at or above the level, from any thread, one call at a time. It must not destroy or recover a
/// group, and who does must not hold a lock that it takes: a group on CUDA waits for the line that it is logging.
using LogCallback = std::function<void(LogLevel level, std::string_view line)>;

}  // namespace railyard
