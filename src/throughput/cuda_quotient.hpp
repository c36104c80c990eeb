// SPDX-License-Identifier: Apache-2.0
// Division by a number that the host knows and the kernel does not: a multiplication and a shift instead of some twenty
// instructions (Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994).
#pragma once

#include <bit>
#include <cstdint>

namespace railyard::throughput {

struct Quotient {
  static constexpr std::uint32_t kMaxDividend = (1U << 30) - 1;

  std::uint32_t multiplier = 1U << 30;
  std::uint32_t shift = 30;

  /// `divisor` in [1, 2^30]. With 2^(s-1) < divisor <= 2^s and m = ceil(2^(30+s) / divisor), which is below 2^31 + 1:
  /// m * divisor exceeds 2^(30+s) by less than divisor <= 2^s, so that n * m / 2^(30+s) exceeds n / divisor by less
  /// than 1 / divisor for every n < 2^30: the floor is the same.
  [[nodiscard]] static constexpr Quotient by(std::uint32_t divisor) {
    const auto bits = static_cast<std::uint32_t>(std::bit_width(divisor - 1));
    const std::uint64_t power = std::uint64_t{1} << (30 + bits);
    return {static_cast<std::uint32_t>((power + divisor - 1) / divisor), 30 + bits};
  }

  /// floor(dividend / divisor) for dividends up to kMaxDividend.
  [[nodiscard]] constexpr std::uint32_t of(std::uint32_t dividend) const {
    return static_cast<std::uint32_t>(std::uint64_t{dividend} * multiplier >> shift);
  }
};

}  // namespace railyard::throughput
