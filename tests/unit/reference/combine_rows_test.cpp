// SPDX-License-Identifier: Apache-2.0
// Which rows, weights and biases a token's sum has; what a lost row does to it.
#include "one_token.hpp"
#include "small_case.hpp"

#include <cmath>

namespace railyard::reference {
namespace {

TEST(CombineRows, ReturnsEveryTokenFromAllItsRows) {
  for (const Layout layout : {Layout::expert_major, Layout::expert_slots}) {
    Config config = small_config(layout, {9, 5});
    config.alignment = layout == Layout::expert_major ? 4 : 1;
    const Result routed = dispatch(config, small_sources());
    CombineInput input;
    input.y = {routed.received[0].rows, routed.received[1].rows};  // experts that return what they got
    input.row_weights = {routed.received[0].weights, routed.received[1].weights};
    std::vector<Bytes> out = combine(config, routed, input);
    EXPECT_EQ(first_elements(out[0]), (std::vector<float>{8.75F, 33}));  // 10 * 0.875, 11 * (1 + 2)
    EXPECT_EQ(first_elements(out[1]), std::vector<float>{1120});         // 20 * 56
    input.row_weights.clear();
    input.weights = {small_sources()[0].weights, small_sources()[1].weights};
    out = combine(config, routed, input);
    EXPECT_EQ(first_elements(out[0]), (std::vector<float>{8.75F, 33}));
    input.weights.clear();
    out = combine(config, routed, input);
    EXPECT_EQ(first_elements(out[0]), (std::vector<float>{30, 22}));
    EXPECT_EQ(first_elements(out[1]), std::vector<float>{60});
  }
}

TEST(CombineRows, RankMajorAddsOneRowPerRank) {
  const Config config = small_config(Layout::rank_major, {2, 2});
  const Result routed = dispatch(config, small_sources());
  CombineInput input;
  input.y = {counting_rows(2, 1), counting_rows(2, 100)};  // rank 0: 1 2; rank 1: 100 101
  const std::vector<Bytes> out = combine(config, routed, input);
  EXPECT_EQ(first_elements(out[0]), (std::vector<float>{101, 101}));
  EXPECT_EQ(first_elements(out[1]), std::vector<float>{2});
}

TEST(CombineRows, BiasesComeFirstInTheirOrder) {
  const Bias large{DType::fp32, eight(element(DType::fp32, 1e8F))};
  const Bias minus_large{DType::fp32, eight(element(DType::fp32, -1e8F))};
  OneToken given{.experts_per_rank = {1}, .ids = {0}, .values = {1}, .biases = {large, minus_large}};
  EXPECT_EQ(reduce_to_float(given), 1.0F);  // adding the row before the second bias leaves 0
  given.biases = {{DType::bf16, eight(bf16({0.5F}))}, {DType::fp16, eight(pack(std::vector<std::uint16_t>{0x3400}))}};
  EXPECT_EQ(reduce_to_float(given), 1.75F);
}

TEST(CombineRows, ATokenWithoutRowsIsItsBiasesOrZero) {
  OneToken given{.experts_per_rank = {1}, .ids = {-1}, .values = {0}, .out_dtype = DType::bf16};
  EXPECT_EQ(reduce_to_code(given), 0x0000);
  given.biases = {{DType::fp32, eight(element(DType::fp32, 257))}};
  EXPECT_EQ(reduce_to_code(given), 0x4380);
  given.biases = {{DType::fp32, eight(element(DType::fp32, -0.0F))}};
  EXPECT_EQ(reduce_to_code(given), 0x8000);
}

TEST(CombineRows, ALostRowIsNanOrLeftOut) {
  // Both entries go to one expert with one slot: the second is lost.
  OneToken given{.experts_per_rank = {1}, .ids = {0, 0}, .values = {3, 5}, .capacity = 1};
  EXPECT_EQ(reduce_to_bits(given), 0x7FFFFFFFU);
  given.overflow = OverflowPolicy::drop;
  EXPECT_EQ(reduce_to_float(given), 3.0F);
  given.levels = ReductionLevels::none;
  EXPECT_EQ(reduce_to_float(given), 3.0F);
  given.experts_per_rank = {1, 1};
  given.ids = {0, 1};
  EXPECT_EQ(reduce_to_float(given), 8.0F);
  given.heap_exhausted = {false, true};  // nobody asked for this loss
  EXPECT_EQ(reduce_to_bits(given), 0x7FFFFFFFU);
}

TEST(CombineRows, ADroppedEntryHasNoPlaceInTheOrder) {
  // Ranks of the entries: 1 0 2 1; the second one on rank 1 is lost, so that rank 1 comes first.
  OneToken given{.experts_per_rank = {1, 1, 1},
                 .ids = {1, 0, 2, 1},
                 .values = {1, 1e8F, -1e8F, 7},
                 .order = ReductionOrder::highest_k,
                 .overflow = OverflowPolicy::drop,
                 .capacity = 1};
  EXPECT_EQ(reduce_to_float(given), 0.0F);
  given.ids = {-1, 0, 2, 1};
  EXPECT_EQ(reduce_to_float(given), 7.0F);
}

TEST(CombineRows, OnlyTokensWithALostRowAreNan) {
  Config config = small_config(Layout::rank_major, {2, 1});
  const Result routed = dispatch(config, small_sources());
  CombineInput input;
  input.y = {counting_rows(2, 1), counting_rows(1, 100)};
  std::vector<Bytes> out = combine(config, routed, input);
  EXPECT_EQ(first_elements(out[0])[0], 101.0F);
  EXPECT_EQ(unpack<std::uint16_t>(out[0])[8], 0x7FFF);
  EXPECT_EQ(first_elements(out[1])[0], 2.0F);
  config.overflow = OverflowPolicy::drop;
  out = combine(config, dispatch(config, small_sources()), input);
  EXPECT_EQ(first_elements(out[0]), (std::vector<float>{101, 0}));
}

TEST(CombineRows, RejectsWhatTheContractExcludes) {
  OneToken given{.experts_per_rank = {1}, .ids = {0}, .values = {1}, .layout = Layout::rank_major, .weights = {1}};
  EXPECT_THROW(static_cast<void>(reduce(given)), std::invalid_argument);
  given.weights.clear();
  given.levels = ReductionLevels::none;
  EXPECT_THROW(static_cast<void>(reduce(given)), std::invalid_argument);
  given.layout = Layout::expert_slots;
  EXPECT_EQ(reduce_to_float(given), 1.0F);
  given.order = ReductionOrder::highest_k;
  EXPECT_THROW(static_cast<void>(reduce(given)), std::invalid_argument);
  given.order = ReductionOrder::rank_ascending;
  given.weights = {1};
  given.row_weights = {1};
  EXPECT_THROW(static_cast<void>(reduce(given)), std::invalid_argument);
}

}  // namespace
}  // namespace railyard::reference
