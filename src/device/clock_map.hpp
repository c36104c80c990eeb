// SPDX-License-Identifier: Apache-2.0
// Times of a device's clock on the host's.
#pragma once

#include <cstdint>

namespace railyard::device {

/// One moment in both clocks. The host's lies within `uncertainty_ns` of `host_ns`.
struct ClockPair {
  std::int64_t device_ns = 0;
  std::int64_t host_ns = 0;
  std::int64_t uncertainty_ns = 0;
};

/// The line through two moments: clocks of different machines' parts drift apart, by microseconds in a second. With one
/// moment, or two that are the same, the clocks are taken to run alike.
class ClockMap {
 public:
  ClockMap(const ClockPair& first, const ClockPair& second) noexcept : first_(first) {
    const std::int64_t device_ns = second.device_ns - first.device_ns;
    const std::int64_t host_ns = second.host_ns - first.host_ns;
    if (device_ns > 0) drift_ = static_cast<double>(host_ns - device_ns) / static_cast<double>(device_ns);
  }

  [[nodiscard]] std::int64_t to_host(std::int64_t device_ns) const noexcept {
    const std::int64_t since = device_ns - first_.device_ns;
    return first_.host_ns + since + static_cast<std::int64_t>(static_cast<double>(since) * drift_);
  }

 private:
  ClockPair first_;
  double drift_ = 0;  // nanoseconds of the host per nanosecond of the device, less one
};

}  // namespace railyard::device
