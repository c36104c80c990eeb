// SPDX-License-Identifier: Apache-2.0
// Where sums are rounded, in which order terms are added, and what becomes of -0, NaN, infinities and denormals.
#include "one_token.hpp"

#include <cmath>
#include <limits>

namespace railyard::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(CombineLevels, PartialsAreRoundedOncePerRank) {
  OneToken given{.experts_per_rank = {2, 1},
                 .ids = {0, 1, 2},
                 .values = {256, 1, 1},
                 .y_dtype = DType::bf16,
                 .out_dtype = DType::bf16};
  EXPECT_EQ(reduce_to_code(given), 0x4380);  // rank 0: 257, a tie, is 256; 256 + 1 again
  given.out_dtype = DType::fp32;
  EXPECT_EQ(reduce_to_float(given), 257.0F);
  given.levels = ReductionLevels::none;
  EXPECT_EQ(reduce_to_float(given), 258.0F);
  given.out_dtype = DType::bf16;
  EXPECT_EQ(reduce_to_code(given), 0x4381);  // 258
}

TEST(CombineLevels, APartialOfOneRowIsRoundedToo) {
  OneToken given{.experts_per_rank = {1, 1},
                 .ids = {1},
                 .values = {1},
                 .y_dtype = DType::bf16,
                 .weights = {1.00390625F}};  // 1 + 2^-8, half a step of bf16
  EXPECT_EQ(reduce_to_float(given), 1.0F);
  given.levels = ReductionLevels::none;
  EXPECT_EQ(reduce_to_float(given), 1.00390625F);
}

TEST(CombineLevels, RanksAscendOrFollowTheirHighestEntry) {
  // Entry k: ranks 1, 0, 2, 1. Rank 1 moves behind rank 2 in highest_k.
  OneToken given{.experts_per_rank = {1, 2, 1}, .ids = {1, 0, 3, 2}, .values = {0.5F, 1e8F, -1e8F, 0.5F}};
  EXPECT_EQ(reduce_to_float(given), 0.0F);  // (1e8 + 1) - 1e8: 1e8 has steps of 8
  given.order = ReductionOrder::highest_k;
  EXPECT_EQ(reduce_to_float(given), 1.0F);  // (1e8 - 1e8) + 1
  given.layout = Layout::rank_major;        // rows are partials: one of rank 1, given by its last entry
  given.values = {1, 1e8F, -1e8F, 1};
  EXPECT_EQ(reduce_to_float(given), 1.0F);
  given.order = ReductionOrder::rank_ascending;
  EXPECT_EQ(reduce_to_float(given), 0.0F);
}

TEST(CombineLevels, WithoutLevelsEntriesAscend) {
  OneToken given{
      .experts_per_rank = {1, 2}, .ids = {1, 0, 2}, .values = {1, 1e8F, -1e8F}, .levels = ReductionLevels::none};
  EXPECT_EQ(reduce_to_float(given), 0.0F);
  given.ids = {0, 2, 1};
  given.values = {1e8F, -1e8F, 1};
  EXPECT_EQ(reduce_to_float(given), 1.0F);
}

TEST(CombineLevels, TermsAreFusedMultiplyAdds) {
  const float x = 1.0F + std::ldexp(1.0F, -23);
  OneToken given{.experts_per_rank = {2},
                 .ids = {0, 1},
                 .values = {-1.0F - std::ldexp(1.0F, -22), x},
                 .levels = ReductionLevels::none,
                 .weights = {1, x}};
  EXPECT_EQ(reduce_to_float(given), std::ldexp(1.0F, -46));  // a rounded product leaves 0
  given.levels = ReductionLevels::rank;
  EXPECT_EQ(reduce_to_float(given), std::ldexp(1.0F, -46));
  given.row_weights = given.weights;
  given.weights.clear();
  EXPECT_EQ(reduce_to_float(given), std::ldexp(1.0F, -46));
}

TEST(CombineLevels, MinusZeroSurvivesOnlyWithoutAPositiveZeroBeforeIt) {
  const Bias minus_zero{DType::fp32, eight(element(DType::fp32, -0.0F))};
  OneToken given{.experts_per_rank = {1}, .ids = {0}, .values = {-0.0F}};
  EXPECT_EQ(reduce_to_bits(given), 0U);  // +0 + -0
  given.biases = {minus_zero};
  EXPECT_EQ(reduce_to_bits(given), 0U);  // the partial is +0
  given.levels = ReductionLevels::none;
  EXPECT_EQ(reduce_to_bits(given), 0x80000000U);  // -0 + -0
  given.levels = ReductionLevels::rank;
  given.layout = Layout::rank_major;  // the row is the partial
  EXPECT_EQ(reduce_to_bits(given), 0x80000000U);
  given.biases.clear();
  EXPECT_EQ(reduce_to_bits(given), 0U);
}

TEST(CombineLevels, NanIsCanonicalAtEveryLevel) {
  for (const Layout layout : {Layout::expert_slots, Layout::expert_major, Layout::rank_major}) {
    for (const ReductionLevels levels : {ReductionLevels::none, ReductionLevels::rank}) {
      if (layout == Layout::rank_major && levels == ReductionLevels::none) {
        continue;
      }
      OneToken given{
          .experts_per_rank = {1, 1}, .ids = {0, 1}, .values = {-kNan, 1}, .layout = layout, .levels = levels};
      EXPECT_EQ(reduce_to_bits(given), 0x7FFFFFFFU);
      given.out_dtype = DType::bf16;
      EXPECT_EQ(reduce_to_code(given), 0x7FFF);
      given.out_dtype = DType::fp16;
      EXPECT_EQ(reduce_to_code(given), 0x7FFF);
      given.values = {kInfinity, -kInfinity};
      EXPECT_EQ(reduce_to_code(given), 0x7FFF);
      given.values = {-kInfinity, 1};
      EXPECT_EQ(reduce_to_code(given), 0xFC00);
    }
  }
}

TEST(CombineLevels, APartialOverflowsInItsOwnType) {
  OneToken given{.experts_per_rank = {2, 1},
                 .ids = {0, 1, 2},
                 .values = {60000, 60000, -60000},
                 .y_dtype = DType::fp16,
                 .out_dtype = DType::fp16};
  EXPECT_EQ(reduce_to_code(given), 0x7C00);  // 120000 is infinite in fp16
  given.levels = ReductionLevels::none;
  EXPECT_EQ(reduce_to_code(given), 0x7B53);  // 60000
}

TEST(CombineLevels, DenormalsAreKept) {
  const float smallest = std::ldexp(1.0F, -133);  // of bf16
  OneToken given{.experts_per_rank = {1, 1},
                 .ids = {0, 1},
                 .values = {smallest, smallest},
                 .y_dtype = DType::bf16,
                 .out_dtype = DType::bf16};
  EXPECT_EQ(reduce_to_code(given), 0x0002);
  given.weights = {0.5F, 0.5F};
  EXPECT_EQ(reduce_to_code(given), 0x0000);  // each partial is half the smallest: a tie with zero
  given.levels = ReductionLevels::none;
  EXPECT_EQ(reduce_to_code(given), 0x0001);
  given.layout = Layout::rank_major;
  given.levels = ReductionLevels::rank;
  given.weights.clear();
  EXPECT_EQ(reduce_to_code(given), 0x0002);
}

}  // namespace
}  // namespace railyard::reference
