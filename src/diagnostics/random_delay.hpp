// SPDX-License-Identifier: Apache-2.0
// Delays that widen the windows of a protocol, so that an ordering that only luck keeps is found by the tests.
#pragma once

#if defined(RAILYARD_DEBUG_DELAYS) && RAILYARD_DEBUG_DELAYS
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#endif

namespace railyard::diagnostics {

/// Stands before every release, acquire and reuse of a buffer. With RAILYARD_DEBUG_DELAYS: nothing half of the time,
/// else a yield, or rarely a sleep of up to 64 us. Otherwise nothing at all.
inline void random_delay() {
#if defined(RAILYARD_DEBUG_DELAYS) && RAILYARD_DEBUG_DELAYS
  thread_local std::uint64_t state = std::hash<std::thread::id>{}(std::this_thread::get_id()) | 1U;
  state ^= state << 13U;  // xorshift64: Marsaglia, "Xorshift RNGs", 2003
  state ^= state >> 7U;
  state ^= state << 17U;
  const std::uint64_t draw = state >> 32U;
  if (draw % 64 == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(draw / 64 % 65));
  } else if (draw % 2 == 0) {
    std::this_thread::yield();
  }
#endif
}

}  // namespace railyard::diagnostics
