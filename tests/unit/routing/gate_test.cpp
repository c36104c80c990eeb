// SPDX-License-Identifier: Apache-2.0
#include <railyard/error.hpp>
#include <railyard/gate.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace railyard {
namespace {

struct Gated {
  std::vector<std::int64_t> ids;
  std::vector<float> weights;
};

Gated run(const std::vector<float>& logits, std::int64_t experts, const GateOptions& options,
          const std::vector<float>& bias = {}) {
  const std::int64_t tokens = static_cast<std::int64_t>(logits.size()) / experts;
  const auto entries = static_cast<std::size_t>(tokens * options.top_k);
  Gated out{std::vector<std::int64_t>(entries, -7), std::vector<float>(entries, -7.0F)};
  gate({logits.data(), DType::fp32, {tokens, experts}},
       bias.empty() ? ConstTensorView{} : ConstTensorView{bias.data(), DType::fp32, {experts}}, options,
       {out.ids.data(), DType::int64, {tokens, options.top_k}},
       {out.weights.data(), DType::fp32, {tokens, options.top_k}});
  return out;
}

using Ids = std::vector<std::int64_t>;

TEST(Gate, SigmoidScoresAreNormalised) {
  // Odds 1/3, 3, 1/9 and 1: sigmoid 1/4, 3/4, 1/10, 1/2.
  const float ln3 = std::log(3.0F);
  const Gated out = run({-ln3, ln3, -2 * ln3, 0}, 4, {.top_k = 2, .scale = 2.5F});
  EXPECT_EQ(out.ids, (Ids{1, 3}));
  EXPECT_FLOAT_EQ(out.weights[0], 1.5F);  // 0.75 / 1.25 * 2.5
  EXPECT_FLOAT_EQ(out.weights[1], 1.0F);
  const Gated plain = run({-ln3, ln3, -2 * ln3, 0}, 4, {.top_k = 3, .normalize = false});
  EXPECT_EQ(plain.ids, (Ids{1, 3, 0}));
  EXPECT_FLOAT_EQ(plain.weights[0], 0.75F);
  EXPECT_FLOAT_EQ(plain.weights[1], 0.5F);
  EXPECT_FLOAT_EQ(plain.weights[2], 0.25F);
}

TEST(Gate, SoftmaxScoresSumOverAllExperts) {
  const float ln2 = std::log(2.0F);
  // Shares 1/8, 4/8, 2/8, 1/8.
  const std::vector<float> logits{0, 2 * ln2, ln2, 0};
  const Gated plain = run(logits, 4, {.top_k = 2, .score = GateScore::softmax, .normalize = false});
  EXPECT_EQ(plain.ids, (Ids{1, 2}));
  EXPECT_FLOAT_EQ(plain.weights[0], 0.5F);
  EXPECT_FLOAT_EQ(plain.weights[1], 0.25F);
  const Gated normal = run(logits, 4, {.top_k = 2, .score = GateScore::softmax});
  EXPECT_FLOAT_EQ(normal.weights[0], 2.0F / 3.0F);
  EXPECT_FLOAT_EQ(normal.weights[1], 1.0F / 3.0F);
}

TEST(Gate, LargeLogitsNeitherOverflowNorLoseTheirOrder) {
  const Gated softmax = run({1e4F, 1e4F + 1, -1e4F}, 3, {.top_k = 2, .score = GateScore::softmax});
  EXPECT_EQ(softmax.ids, (Ids{1, 0}));
  EXPECT_NEAR(softmax.weights[0], 0.7310586F, 1e-6);
  const Gated high = run({19, 20, 18, -1e4F}, 4, {.top_k = 3});  // in fp32, all three scores are 1
  EXPECT_EQ(high.ids, (Ids{1, 0, 2}));
  const Gated low = run({-700, -701, -730}, 3, {.top_k = 2});  // in fp32, all scores are 0
  EXPECT_EQ(low.ids, (Ids{0, 1}));
  EXPECT_NEAR(low.weights[0], 0.7310586F, 1e-6);
}

TEST(Gate, TiesGoToTheLowerId) {
  EXPECT_EQ(run({1, 2, 2, 1, 2}, 5, {.top_k = 4}).ids, (Ids{1, 2, 4, 0}));
  // Groups tie as well: {0 1} and {2 3} have the same two scores.
  EXPECT_EQ(run({1, 2, 2, 1, 0, 0}, 6, {.top_k = 2, .num_groups = 3, .top_k_groups = 1}).ids, (Ids{1, 0}));
}

TEST(Gate, GroupsAreChosenByTheirTwoBest) {
  // Group 0 has the best expert, group 1 the best pair, group 2 the largest sum of all four.
  const std::vector<float> logits{4, -9, -9, -9, 2, 2, -9, -9, 1, 1, 1, 1};
  EXPECT_EQ(run(logits, 12, {.top_k = 3, .num_groups = 3, .top_k_groups = 1}).ids, (Ids{4, 5, 6}));
  EXPECT_EQ(run(logits, 12, {.top_k = 3, .num_groups = 3, .top_k_groups = 2}).ids, (Ids{4, 5, 8}));
  EXPECT_EQ(run(logits, 12, {.top_k = 3, .num_groups = 3, .top_k_groups = 3}).ids, (Ids{0, 4, 5}));
  EXPECT_EQ(run({1, 3, 2}, 3, {.top_k = 2, .num_groups = 3, .top_k_groups = 2}).ids, (Ids{1, 2}));
}

TEST(Gate, TheBiasChangesTheChoiceButNotTheWeights) {
  const float ln3 = std::log(3.0F);
  const std::vector<float> logits{ln3, 0, -ln3, -ln3};  // 3/4, 1/2, 1/4, 1/4
  const Gated out = run(logits, 4, {.top_k = 2, .normalize = false}, {-1, 0, 0, 10});
  EXPECT_EQ(out.ids, (Ids{3, 1}));
  EXPECT_FLOAT_EQ(out.weights[0], 0.25F);
  EXPECT_FLOAT_EQ(out.weights[1], 0.5F);
  // It moves groups too: {0 1} loses to {2 3}.
  const GateOptions grouped{.top_k = 1, .num_groups = 2, .top_k_groups = 1};
  EXPECT_EQ(run(logits, 4, grouped).ids, (Ids{0}));
  EXPECT_EQ(run(logits, 4, grouped, {0, 0, 0.5F, 0.5F}).ids, (Ids{2}));
}

TEST(Gate, ReadsAndWritesStridedRows) {
  const std::vector<float> logits{1, 2, 3, 99, 6, 5, 4, 99};
  std::vector<std::int32_t> ids(6, -7);
  std::vector<float> weights(8, -7);
  gate(ConstTensorView::rows(logits.data(), DType::fp32, 2, 3, 4), {}, {.top_k = 2},
       TensorView::rows(ids.data(), DType::int32, 2, 2, 3), TensorView::rows(weights.data(), DType::fp32, 2, 2, 4));
  EXPECT_EQ(ids, (std::vector<std::int32_t>{2, 1, -7, 0, 1, -7}));
  EXPECT_FLOAT_EQ(weights[0] + weights[1], 1.0F);
  EXPECT_FLOAT_EQ(weights[4] + weights[5], 1.0F);
  EXPECT_EQ(weights[2], -7.0F);
  EXPECT_EQ(weights[3], -7.0F);
  gate({nullptr, DType::fp32, {0, 3}}, {}, {.top_k = 2}, {nullptr, DType::int32, {0, 2}},
       {nullptr, DType::fp32, {0, 2}});
}

// The definition, with a full sort and no shortcut.
Gated by_definition(const std::vector<float>& logits, const std::vector<float>& bias, const GateOptions& options) {
  const std::size_t experts = logits.size();
  std::vector<long double> score(experts);
  long double sum = 0;
  for (std::size_t e = 0; e < experts; ++e) {
    const long double exponential = std::exp(static_cast<long double>(logits[e]));
    sum += exponential;
    score[e] = options.score == GateScore::sigmoid ? exponential / (1 + exponential) : exponential;
  }
  if (options.score == GateScore::softmax) {
    for (long double& one : score) {
      one /= sum;
    }
  }
  std::vector<long double> corrected(score);
  for (std::size_t e = 0; e < bias.size(); ++e) {
    corrected[e] += static_cast<long double>(bias[e]);
  }
  const std::size_t size = experts / static_cast<std::size_t>(options.num_groups);
  std::vector<std::pair<long double, std::size_t>> groups;  // negated, so that they sort best first, lower group first
  for (std::size_t g = 0; g < experts / size; ++g) {
    std::vector<long double> members(corrected.begin() + static_cast<std::ptrdiff_t>(g * size),
                                     corrected.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(members.begin(), members.end(), std::greater<>());
    groups.emplace_back(-(members[0] + (size > 1 ? members[1] : 0)), g);
  }
  std::sort(groups.begin(), groups.end());
  std::vector<std::pair<long double, std::size_t>> order;
  for (std::size_t i = 0; i < static_cast<std::size_t>(options.top_k_groups); ++i) {
    for (std::size_t e = groups[i].second * size; e < (groups[i].second + 1) * size; ++e) {
      order.emplace_back(-corrected[e], e);
    }
  }
  std::sort(order.begin(), order.end());
  order.resize(static_cast<std::size_t>(options.top_k));
  long double chosen = 0;
  for (const auto& [negated, e] : order) {
    chosen += score[e];
  }
  Gated out;
  for (const auto& [negated, e] : order) {
    out.ids.push_back(static_cast<std::int64_t>(e));
    out.weights.push_back(
        static_cast<float>(score[e] / (options.normalize ? chosen : 1) * static_cast<long double>(options.scale)));
  }
  return out;
}

TEST(Gate, EqualsTheDefinitionOnRandomInput) {
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 400; ++round) {
    GateOptions options;
    options.num_groups = pick(1, 8);
    const int experts = options.num_groups * pick(1, 40);
    options.top_k_groups = pick(1, options.num_groups);
    options.top_k = pick(1, std::min(32, experts / options.num_groups * options.top_k_groups));
    options.score = pick(0, 1) == 0 ? GateScore::softmax : GateScore::sigmoid;
    options.normalize = pick(0, 1) == 0;
    options.scale = static_cast<float>(pick(1, 20)) / 8.0F;
    std::vector<float> logits(static_cast<std::size_t>(experts));
    // Half of the rounds have equal logits, which must tie exactly. Neither a bias nor negative logits then: sums that
    // are equal in theory alone, as sigmoid(1) + sigmoid(-1) = sigmoid(2) + sigmoid(-2), have no right order.
    const bool ties = pick(0, 1) == 0;
    std::vector<float> bias(ties || pick(0, 1) == 0 ? 0 : logits.size());
    for (float& logit : logits) {
      logit = ties ? static_cast<float>(pick(0, 4)) : std::normal_distribution<float>(0, 3)(random);
    }
    for (float& one : bias) {
      one = std::normal_distribution<float>(0, 1)(random);
    }
    const Gated out = run(logits, experts, options, bias);
    const Gated expected = by_definition(logits, bias, options);
    ASSERT_EQ(out.ids, expected.ids) << "round " << round;
    for (std::size_t k = 0; k < out.weights.size(); ++k) {
      ASSERT_NEAR(out.weights[k], expected.weights[k], 1e-6F * expected.weights[k]) << "round " << round;
    }
  }
}

class GateErrors : public ::testing::Test {
 protected:
  // Runs with eight experts and two tokens after `change`, and expects the text in the message.
  struct Call {
    std::vector<float> values = std::vector<float>(16, 0.5F);
    std::vector<float> bias_values = std::vector<float>(8, 0.0F);
    std::vector<std::int32_t> id_values = std::vector<std::int32_t>(64);
    std::vector<float> weight_values = std::vector<float>(64);
    ConstTensorView logits{values.data(), DType::fp32, {2, 8}};
    ConstTensorView bias{bias_values.data(), DType::fp32, {8}};
    GateOptions options{.top_k = 2};
    TensorView ids{id_values.data(), DType::int32, {2, 2}};
    TensorView weights{weight_values.data(), DType::fp32, {2, 2}};
  };

  static void expect(const std::string& message, const std::function<void(Call&)>& change) {
    Call call;
    change(call);
    try {
      gate(call.logits, call.bias, call.options, call.ids, call.weights);
      ADD_FAILURE() << "no error; expected: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }
};

TEST_F(GateErrors, TheUnchangedCallIsValid) {
  Call call;
  EXPECT_NO_THROW(gate(call.logits, call.bias, call.options, call.ids, call.weights));
}

TEST_F(GateErrors, OptionsNameValueAndLimit) {
  expect("top_k is 0; with 8 experts it lies in [1, 8]", [](Call& c) { c.options.top_k = 0; });
  expect("top_k is 9; with 8 experts it lies in [1, 8]", [](Call& c) { c.options.top_k = 9; });
  expect("num_groups is 3; it divides the 8 experts", [](Call& c) { c.options.num_groups = 3; });
  expect("num_groups is 0", [](Call& c) { c.options.num_groups = 0; });
  expect("top_k_groups is 2; with 1 groups it lies in [1, 1]", [](Call& c) { c.options.top_k_groups = 2; });
  expect("top_k is 2; the 1 groups kept have 1 experts", [](Call& c) { c.options.num_groups = 8; });
  expect("scale is inf", [](Call& c) { c.options.scale = std::numeric_limits<float>::infinity(); });
}

TEST_F(GateErrors, TensorsNameValueAndLimit) {
  expect("logits has 0 dimensions; it has 2", [](Call& c) { c.logits = {}; });
  expect("logits is bf16; it is fp32", [](Call& c) { c.logits = {c.values.data(), DType::bf16, {2, 8}}; });
  expect("logits is a null pointer with 2 rows", [](Call& c) { c.logits = {nullptr, DType::fp32, {2, 8}}; });
  alignas(8) static std::byte odd[256];
  expect("logits starts 2 bytes past a multiple of 4", [](Call& c) { c.logits = {odd + 2, DType::fp32, {2, 8}}; });
  expect("ids is [2, 3]; it is [2, 2]", [](Call& c) { c.ids = {c.id_values.data(), DType::int32, {2, 3}}; });
  expect("ids is fp32; it is int32 or int64", [](Call& c) { c.ids = {c.id_values.data(), DType::fp32, {2, 2}}; });
  expect("weights is [1, 2]; it is [2, 2]", [](Call& c) { c.weights = {c.weight_values.data(), DType::fp32, {1, 2}}; });
  expect("weights is fp16; it is fp32", [](Call& c) { c.weights = {c.weight_values.data(), DType::fp16, {2, 2}}; });
  expect("bias has 1 dimensions and 7 elements; it has 1 and 8", [](Call& c) {
    c.bias = {c.bias_values.data(), DType::fp32, {7}};
  });
  expect("bias is int32; it is fp32", [](Call& c) { c.bias = {c.bias_values.data(), DType::int32, {8}}; });
}

TEST_F(GateErrors, ValuesNameTheirPlace) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  expect("the logit of token 1, expert 3 is nan; it is finite", [nan](Call& c) { c.values[11] = nan; });
  expect("the logit of token 0, expert 0 is inf; it is finite",
         [](Call& c) { c.values[0] = std::numeric_limits<float>::infinity(); });
  expect("bias of expert 5 is nan; it is finite", [nan](Call& c) { c.bias_values[5] = nan; });
  expect("the scores chosen for token 1 sum to 0; to normalise them it takes more than 0",
         [](Call& c) { std::fill(c.values.begin() + 8, c.values.end(), -1e6F); });
}

}  // namespace
}  // namespace railyard
