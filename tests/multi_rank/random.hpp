// SPDX-License-Identifier: Apache-2.0
// Seeded choices that are the same with every standard library.
#pragma once

#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <random>
#include <vector>

namespace railyard::multi_rank {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  [[nodiscard]] std::uint64_t bits() { return engine_(); }
  /// Uniform in [0, n); n > 0. The bias of the remainder is below n / 2^64.
  [[nodiscard]] std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(n));
  }
  [[nodiscard]] std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }
  [[nodiscard]] bool chance(int percent) { return below(100) < percent; }
  [[nodiscard]] double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  template <typename T>
  [[nodiscard]] T one_of(std::initializer_list<T> values) {
    return *std::next(values.begin(), below(static_cast<std::int64_t>(values.size())));
  }

 private:
  std::mt19937_64 engine_;
};

/// `rows` rows of `columns` elements. Most rows are ordinary numbers; some are zeros of both signs, tiny, huge, or
/// random bits with every NaN, infinity and denormal.
[[nodiscard]] std::vector<std::byte> random_rows(Random& random, DType dtype, std::int64_t rows, std::int64_t columns);
/// The same for fp32 weights: mostly in [0, 1].
[[nodiscard]] std::vector<float> random_weights(Random& random, std::int64_t count);

}  // namespace railyard::multi_rank
