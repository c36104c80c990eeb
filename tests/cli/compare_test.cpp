// SPDX-License-Identifier: Apache-2.0
// The comparisons that `verified` rests on must see a change of any single thing that is compared.
#include "cli/compare.hpp"
#include "cli/rows.hpp"

#include <railyard/exchange.hpp>

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <optional>
#include <vector>

namespace railyard::cli {
namespace {

constexpr int kTokens = 5;
constexpr int kHidden = 24;
constexpr int kExperts = 4;
constexpr int kTopK = 2;
constexpr int kAlignment = 4;

/// One rank that sends to itself, and the reference's view of it.
struct Sample {
  World world = World::threads(1);
  std::optional<Group> group;
  std::vector<float> x;
  std::vector<std::int64_t> ids;
  std::vector<float> weights;
  Dispatched received;
  reference::Delivered expected;

  explicit Sample(Layout layout) {
    for (int i = 0; i < kTokens * kHidden; ++i) {
      x.push_back(static_cast<float>(i % 37) - 12.0F);
    }
    for (int i = 0; i < kTokens * kTopK; ++i) {
      ids.push_back((i * 3 + i / kTopK) % kExperts);
      weights.push_back(0.25F + static_cast<float>(i));
    }
    const int alignment = layout == Layout::expert_major ? kAlignment : 1;
    world.run([&](Rank& rank) {
      group.emplace(rank, GroupOptions{.num_experts = kExperts,
                                       .max_top_k = kTopK,
                                       .max_tokens = kTokens,
                                       .hidden = kHidden,
                                       .row_dtype = DType::fp32});
      DispatchOptions options{.weights = ConstTensorView(weights.data(), DType::fp32, {kTokens, kTopK}),
                              .codec = Codec::fp8_e4m3,
                              .tail = Tail::zero,
                              .layout = layout,
                              .alignment = alignment};
      received = group->dispatch(ConstTensorView(x.data(), DType::fp32, {kTokens, kHidden}),
                                 ConstTensorView(ids.data(), DType::int64, {kTokens, kTopK}), options);
    });
    reference::Config config;
    config.experts_per_rank = {kExperts};
    config.top_k = kTopK;
    config.hidden = kHidden;
    config.layout = layout;
    config.alignment = alignment;
    config.capacity = {received.route.capacity()};
    config.input = DType::fp32;
    config.codec = Codec::fp8_e4m3;
    config.tail = Tail::zero;
    config.has_weights = true;
    reference::Source source;
    source.tokens = kTokens;
    source.ids = ids;
    source.weights = weights;
    source.x.resize(x.size() * sizeof(float));
    std::memcpy(source.x.data(), x.data(), source.x.size());
    expected = reference::dispatch(config, {source}).received.front();
  }
};

class CompareDispatch : public testing::TestWithParam<Layout> {};

TEST_P(CompareDispatch, AcceptsWhatIsEqualAndFindsEveryChange) {
  Sample sample(GetParam());
  const Comparison equal = compare_dispatch(0, Delivery::of(sample.received), sample.expected);
  EXPECT_TRUE(equal.equal()) << equal.first_difference;
  EXPECT_EQ(equal.compared, 1 + static_cast<std::int64_t>(sample.expected.origins.size()) + 4);

  const auto expect_found = [&](const char* what, const std::function<void(reference::Delivered&)>& change) {
    reference::Delivered changed = sample.expected;
    change(changed);
    const Comparison comparison = compare_dispatch(0, Delivery::of(sample.received), changed);
    EXPECT_EQ(comparison.different, 1) << what;
    EXPECT_NE(comparison.first_difference.find(what), std::string::npos) << comparison.first_difference;
  };
  expect_found("payload of row 1", [](auto& d) { d.rows[d.row_bytes + 3] ^= std::byte{1}; });
  expect_found("scales of row 0", [](auto& d) { d.scales[2] ^= std::byte{1}; });
  expect_found("weights of row 0", [](auto& d) { d.weights[0] += 1.0F; });
  expect_found("expert ids of row 0", [](auto& d) { d.expert_ids[0] += 1; });
  expect_found("origin of row 2", [](auto& d) { d.origins[2].token += 1; });
  expect_found("origin of row 2", [](auto& d) { d.origins[2].k += 1; });
  expect_found("number of rows", [](auto& d) { d.num_rows -= 1; });
  expect_found("counts by source", [](auto& d) { d.receive_counts[0] += 1; });
  expect_found("counts by expert", [](auto& d) { d.expert_counts[3] += 1; });
  expect_found("expert offsets", [](auto& d) { d.expert_offsets[4] += 1; });
  expect_found("rows", [](auto& d) { d.origins.pop_back(); });
}

INSTANTIATE_TEST_SUITE_P(Layouts, CompareDispatch,
                         testing::Values(Layout::rank_major, Layout::expert_major, Layout::expert_slots),
                         [](const auto& instance) { return std::string(name(instance.param)); });

TEST(CompareOutput, FindsAByteAndAMissingRow) {
  std::vector<std::byte> expected(30, std::byte{7});
  std::vector<std::byte> output = expected;
  EXPECT_TRUE(compare_output(0, output, expected, 10).equal());
  EXPECT_EQ(compare_output(0, output, expected, 10).compared, 4);
  output[19] = std::byte{8};
  const Comparison one = compare_output(3, output, expected, 10);
  EXPECT_EQ(one.different, 1);
  EXPECT_EQ(one.first_difference, "token 1 of rank 3");
  output.resize(20);
  EXPECT_EQ(compare_output(0, output, expected, 10).different, 1);
}

TEST(Comparison, KeepsTheFirstDifference) {
  Comparison sum;
  sum.count(true, [] { return std::string("never"); });
  Comparison other;
  other.count(false, [] { return std::string("first"); });
  other.count(false, [] { return std::string("second"); });
  sum.add(other);
  EXPECT_EQ(sum.compared, 3);
  EXPECT_EQ(sum.different, 2);
  EXPECT_EQ(sum.first_difference, "first");
}

}  // namespace
}  // namespace railyard::cli
