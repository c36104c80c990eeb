// SPDX-License-Identifier: Apache-2.0
// The end of a wait, and what poll() is told of it.
#pragma once

#include <algorithm>
#include <chrono>

namespace railyard::bootstrap {

using Clock = std::chrono::steady_clock;

// Longer deadlines would overflow the clock; nobody sees this one pass.
inline constexpr std::chrono::nanoseconds kLongestTimeout = std::chrono::hours(24 * 365);

[[nodiscard]] inline Clock::time_point deadline_after(std::chrono::nanoseconds timeout) {
  return Clock::now() + std::min(timeout, kLongestTimeout);
}

/// Milliseconds until `deadline` for poll(), rounded up: a wait that ends is past the deadline. At most a minute.
[[nodiscard]] inline int poll_timeout_ms(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, 60'000));
}

[[nodiscard]] inline long long in_milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace railyard::bootstrap
