// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_quotient.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>

namespace railyard::throughput {
namespace {

void expect_exact(std::uint32_t divisor, std::uint32_t dividend) {
  ASSERT_EQ(Quotient::by(divisor).of(dividend), dividend / divisor) << dividend << " / " << divisor;
}

// Where a product that is a little too large would show: at a multiple and just below it.
void expect_exact_around(std::uint32_t divisor, std::uint32_t multiple) {
  const std::uint64_t product = std::uint64_t{divisor} * multiple;
  for (const std::uint64_t below : {std::uint64_t{0}, std::uint64_t{1}}) {
    if (product < below) continue;
    expect_exact(divisor, static_cast<std::uint32_t>(std::min<std::uint64_t>(product - below, Quotient::kMaxDividend)));
  }
}

TEST(Quotient, EqualsDivisionAtMultiplesOfSmallDivisors) {
  for (std::uint32_t divisor = 1; divisor <= 3000; ++divisor) {
    const std::uint32_t last = Quotient::kMaxDividend / divisor;
    for (const std::uint32_t multiple : {0U, 1U, 2U, last / 2, last - std::min(last, 1U), last, last + 1}) {
      expect_exact_around(divisor, multiple);
    }
    expect_exact(divisor, Quotient::kMaxDividend);
  }
}

TEST(Quotient, EqualsDivisionAroundPowersOfTwoAndForRandomNumbers) {
  std::mt19937 random(7);
  for (int bit = 1; bit <= 30; ++bit) {
    for (const std::uint32_t divisor : {(1U << bit) - 1, 1U << bit, (1U << bit) + 1}) {
      if (divisor > 1U << 30) continue;
      for (int i = 0; i < 1000; ++i) expect_exact(divisor, static_cast<std::uint32_t>(random()) >> 2);
      for (int i = 0; i < 1000; ++i) {
        expect_exact_around(divisor, static_cast<std::uint32_t>(random()) % (Quotient::kMaxDividend / divisor + 1));
      }
    }
  }
}

}  // namespace
}  // namespace railyard::throughput
