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

/// How long before its end a wait for others asks whether who passes messages on lives, so that it ends in time if not;
/// 0 where that is too short for a busy machine to answer.
[[nodiscard]] inline std::chrono::nanoseconds ping_ahead(std::chrono::nanoseconds timeout) {
  using namespace std::chrono_literals;
  const auto ahead = std::min<std::chrono::nanoseconds>(1s, timeout / 2);
  return ahead < 250ms ? 0ns : ahead;
}

[[nodiscard]] inline long long in_milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace railyard::bootstrap
