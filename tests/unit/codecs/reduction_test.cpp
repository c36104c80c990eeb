// SPDX-License-Identifier: Apache-2.0
// Sums of rows: every level against a plain loop over the elements.
#include "codecs/reduction.hpp"

#include "guarded_row.hpp"
#include "inputs.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace railyard::codecs {
namespace {

struct Terms {
  DType input;
  int hidden;
  std::vector<GuardedRow> rows;
  std::vector<const void*> pointers;
  std::vector<float> weights;
  std::vector<float> initial;
};

Terms random_terms(DType input, int hidden, int count, Content content, std::size_t misalignment, std::uint32_t seed) {
  Terms terms{.input = input, .hidden = hidden, .rows = {}, .pointers = {}, .weights = {}, .initial = {}};
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  for (int r = 0; r < count; ++r) {
    terms.rows.emplace_back(random_row(input, hidden, content, seed + 1000U * static_cast<std::uint32_t>(r)),
                            misalignment * static_cast<std::size_t>(r));
    terms.weights.push_back(uniform(generator));
  }
  for (const GuardedRow& row : terms.rows) {
    terms.pointers.push_back(row.data());
  }
  for (int i = 0; i < hidden; ++i) {
    terms.initial.push_back(uniform(generator));
  }
  return terms;
}

std::vector<std::byte> plain_sum(const Terms& terms, bool weighted, bool with_initial, DType output) {
  const auto hidden = static_cast<std::size_t>(terms.hidden);
  std::vector<std::byte> out(hidden * size_of(output));
  for (std::size_t i = 0; i < hidden; ++i) {
    float accumulator = with_initial ? terms.initial[i] : 0.0F;
    for (std::size_t r = 0; r < terms.pointers.size(); ++r) {
      const float term = element_value(terms.input, terms.pointers[r], i);
      accumulator = weighted ? std::fma(terms.weights[r], term, accumulator) : accumulator + term;
    }
    const std::uint32_t word = output == DType::bf16   ? float_to_bf16(accumulator)
                               : output == DType::fp16 ? float_to_fp16(accumulator)
                                                       : bits_of(canonical(accumulator));
    std::memcpy(out.data() + i * size_of(output), &word, size_of(output));
  }
  return out;
}

class ReductionTest : public LevelTest {
 protected:
  void expect_equals_plain(const Terms& terms, DType output, std::size_t misalignment) {
    for (const bool weighted : {false, true}) {
      for (const bool with_initial : {false, true}) {
        const std::vector<std::byte> expected = plain_sum(terms, weighted, with_initial, output);
        for (const Stores stores : {Stores::ordinary, Stores::streaming}) {
          SCOPED_TRACE(testing::Message()
                       << railyard::name(terms.input) << " to " << railyard::name(output) << ", hidden " << terms.hidden
                       << ", rows " << terms.pointers.size() << ", weighted " << weighted << ", initial "
                       << with_initial << ", stores " << index(stores) << ", misaligned by " << misalignment);
          GuardedRow out(expected.size(), misalignment);
          table().sum[index(stores)][index(terms.input)][index(output)](
              terms.pointers.data(), weighted ? terms.weights.data() : nullptr, static_cast<int>(terms.pointers.size()),
              with_initial ? terms.initial.data() : nullptr, out.data(), terms.hidden);
          store_fence();
          ASSERT_TRUE(std::ranges::equal(out.bytes(), expected));
          ASSERT_TRUE(out.guards_intact());
        }
      }
    }
  }
};

TEST_P(ReductionTest, SumEqualsAPlainLoopForEveryShape) {
  std::uint32_t seed = 1;
  for (const DType input : kFloatTypes) {
    for (const DType output : kFloatTypes) {
      for (const int hidden : kHidden) {
        for (const int count : {0, 1, 2, 8}) {
          expect_equals_plain(random_terms(input, hidden, count, Content::normal, 0, seed++), output, 0);
        }
      }
    }
  }
}

TEST_P(ReductionTest, SumTakesAnyAlignment) {
  std::uint32_t seed = 1000;
  for (const DType input : kFloatTypes) {
    for (const DType output : kFloatTypes) {
      for (const int hidden : {24, 1000, 2880}) {
        for (const std::size_t misalignment : {1U, 2U, 4U, 8U, 16U, 30U, 48U, 60U, 63U}) {
          expect_equals_plain(random_terms(input, hidden, 3, Content::normal, misalignment, seed++), output,
                              misalignment);
        }
      }
    }
  }
}

TEST_P(ReductionTest, SumOfAnyBits) {
  std::uint32_t seed = 2000;
  for (const DType input : kFloatTypes) {
    for (const DType output : kFloatTypes) {
      for (const Content content : {Content::any_bits, Content::tiny}) {
        expect_equals_plain(random_terms(input, 1000, 4, content, 2, seed++), output, 0);
        expect_equals_plain(random_terms(input, 4096, 1, content, 0, seed++), output, 0);
      }
    }
  }
}

TEST_P(ReductionTest, SumOf32Rows) {
  expect_equals_plain(random_terms(DType::bf16, 1000, 32, Content::normal, 6, 7), DType::bf16, 0);
}

TEST_P(ReductionTest, RowsAreAddedInTheOrderGiven) {
  const std::vector<float> large(64, 1e8F);
  const std::vector<float> one(64, 1.0F);
  const std::vector<float> negative(64, -1e8F);
  std::vector<float> out(64, -1.0F);
  const auto sum = table().sum[0][index(DType::fp32)][index(DType::fp32)];
  const void* lost[]{large.data(), one.data(), negative.data()};
  sum(lost, nullptr, 3, nullptr, out.data(), 64);
  EXPECT_EQ(out, std::vector<float>(64, 0.0F));
  const void* kept[]{large.data(), negative.data(), one.data()};
  sum(kept, nullptr, 3, nullptr, out.data(), 64);
  EXPECT_EQ(out, std::vector<float>(64, 1.0F));
}

TEST_P(ReductionTest, WeightedTermsRoundOnce) {
  // (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: the product alone would lose the last bit.
  const float factor = 1.0F + 0x1p-12F;
  const std::vector<float> row(64, factor);
  const std::vector<float> initial(64, -1.0F - 0x1p-11F);
  std::vector<float> out(64, -1.0F);
  const void* rows[]{row.data()};
  table().sum[0][index(DType::fp32)][index(DType::fp32)](rows, &factor, 1, initial.data(), out.data(), 64);
  EXPECT_EQ(out, std::vector<float>(64, 0x1p-24F));
  std::vector<float> accumulator = initial;
  table().accumulate_weighted[index(DType::fp32)](accumulator.data(), factor, row.data(), 64);
  EXPECT_EQ(accumulator, std::vector<float>(64, 0x1p-24F));
}

TEST_P(ReductionTest, AnEmptySumIsPlusZeroAndStaysPlusZero) {
  std::vector<float> out(128, -1.0F);
  const auto sum = table().sum[0][index(DType::fp32)][index(DType::fp32)];
  sum(nullptr, nullptr, 0, nullptr, out.data(), 128);
  EXPECT_TRUE(std::ranges::all_of(out, [](float value) { return bits_of(value) == 0; }));
  const std::vector<float> negative(128, -0.0F);
  const void* rows[]{negative.data()};
  sum(rows, nullptr, 1, nullptr, out.data(), 128);
  EXPECT_TRUE(std::ranges::all_of(out, [](float value) { return bits_of(value) == 0; }));
  sum(nullptr, nullptr, 0, negative.data(), out.data(), 128);
  EXPECT_TRUE(std::ranges::all_of(out, [](float value) { return bits_of(value) == bits::kSign; }));
}

TEST_P(ReductionTest, WrittenNanIsCanonical) {
  const std::vector<float> infinity(128, std::numeric_limits<float>::infinity());
  const std::vector<float> negative(128, -std::numeric_limits<float>::infinity());
  const void* rows[]{infinity.data(), negative.data()};
  for (const Stores stores : {Stores::ordinary, Stores::streaming}) {
    for (const DType output : kFloatTypes) {
      GuardedRow out(512 * size_of(output));
      table().sum[index(stores)][index(DType::fp32)][index(output)](rows, nullptr, 2, nullptr, out.data(), 128);
      store_fence();
      if (output == DType::fp32) {
        EXPECT_EQ(out.as<std::uint32_t>()[127], kFp32Nan);
      } else {
        EXPECT_EQ(out.as<std::uint16_t>()[127], 0x7FFF);
      }
    }
  }
}

TEST_P(ReductionTest, StepsGiveTheFusedResult) {
  for (const DType input : kFloatTypes) {
    for (const int hidden : kHidden) {
      for (const std::size_t misalignment : {0U, 2U, 5U}) {
        const Terms terms = random_terms(input, hidden, 5, Content::normal, misalignment, 31);
        GuardedRow plain(terms.initial, 4 * misalignment);
        GuardedRow weighted(terms.initial, 4 * misalignment);
        for (std::size_t r = 0; r < terms.pointers.size(); ++r) {
          table().accumulate[index(input)](static_cast<float*>(plain.data()), terms.pointers[r], hidden);
          table().accumulate_weighted[index(input)](static_cast<float*>(weighted.data()), terms.weights[r],
                                                    terms.pointers[r], hidden);
        }
        ASSERT_TRUE(plain.guards_intact());
        ASSERT_TRUE(weighted.guards_intact());
        for (const DType output : kFloatTypes) {
          GuardedRow out(static_cast<std::size_t>(hidden) * size_of(output), misalignment);
          table().round[index(output)](static_cast<const float*>(plain.data()), out.data(), hidden);
          ASSERT_TRUE(std::ranges::equal(out.bytes(), plain_sum(terms, false, true, output)));
          table().round[index(output)](static_cast<const float*>(weighted.data()), out.data(), hidden);
          ASSERT_TRUE(std::ranges::equal(out.bytes(), plain_sum(terms, true, true, output)));
          ASSERT_TRUE(out.guards_intact());
        }
      }
    }
  }
}

TEST_P(ReductionTest, RoundingMakesNanCanonicalInFp32Too) {
  const std::vector<std::uint32_t> accumulator(24, 0xFFC01234);
  GuardedRow source(accumulator);
  GuardedRow out(24 * sizeof(float));
  table().round[index(DType::fp32)](static_cast<const float*>(source.data()), out.data(), 24);
  EXPECT_EQ(out.as<std::uint32_t>(), std::vector<std::uint32_t>(24, kFp32Nan));
}

INSTANTIATE_TEST_SUITE_P(Levels, ReductionTest, testing::ValuesIn(kLevels), level_name);

TEST(Reduction, FactoriesGiveTheBestLevel) {
  const Implementation& best = implementation(best_level());
  for (const DType input : kFloatTypes) {
    EXPECT_EQ(accumulate(input), best.accumulate[index(input)]);
    EXPECT_EQ(accumulate_weighted(input), best.accumulate_weighted[index(input)]);
    EXPECT_EQ(round_row(input), best.round[index(input)]);
    for (const DType output : kFloatTypes) {
      EXPECT_EQ(sum_rows(input, output), best.sum[index(Stores::streaming)][index(input)][index(output)]);
      EXPECT_EQ(sum_rows(input, output, Stores::ordinary),
                best.sum[index(Stores::ordinary)][index(input)][index(output)]);
    }
  }
}

TEST(Reduction, FactoriesRefuseOtherTypes) {
  for (const DType type : {DType::fp8_e4m3, DType::uint8, DType::int32, DType::int64}) {
    EXPECT_THROW(static_cast<void>(accumulate(type)), Error);
    EXPECT_THROW(static_cast<void>(accumulate_weighted(type)), Error);
    EXPECT_THROW(static_cast<void>(round_row(type)), Error);
    EXPECT_THROW(static_cast<void>(sum_rows(type, DType::bf16)), Error);
    EXPECT_THROW(static_cast<void>(sum_rows(DType::bf16, type)), Error);
  }
}

}  // namespace
}  // namespace railyard::codecs
