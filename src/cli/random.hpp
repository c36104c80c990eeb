// SPDX-License-Identifier: Apache-2.0
// Reproducible numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), the same on every machine for one seed.
#pragma once

#include <cstdint>

namespace railyard::cli {

class Random {
 public:
  /// Streams with different (seed, stream) are unrelated.
  explicit constexpr Random(std::uint64_t seed, std::uint64_t stream = 0) noexcept
      : state_(mix(seed + 0x9E3779B97F4A7C15U) ^ mix(stream * 0xD1B54A32D192ED03U + 1)) {}

  constexpr std::uint64_t next() noexcept {
    state_ += 0x9E3779B97F4A7C15U;
    return mix(state_);
  }
  /// In [0, bound); bound > 0.
  constexpr std::uint64_t below(std::uint64_t bound) noexcept { return next() % bound; }
  /// In [0, 1).
  constexpr double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// In [-1, 1).
  constexpr float centred() noexcept { return static_cast<float>(static_cast<std::int32_t>(next() >> 32)) * 0x1p-31F; }

 private:
  static constexpr std::uint64_t mix(std::uint64_t value) noexcept {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31);
  }

  std::uint64_t state_;
};

}  // namespace railyard::cli
