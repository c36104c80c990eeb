// SPDX-License-Identifier: Apache-2.0
// Arguments of combine outside their limits are refused at every rank, and nothing is consumed.
#include "unit/api/refused_calls.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

void bring_back(Call& c) { static_cast<void>(c.group->combine(c.y, c.route, c.out, c.combine)); }

const std::vector<ArgumentCase>& combine_cases() {
  static const std::vector<ArgumentCase> cases = {
      {"y undefined",
       {"y"},
       [](Call& c) {
         c.y = {};
         bring_back(c);
       }},
      {"y of other hidden",
       {"y", "16", "24"},
       [](Call& c) {
         c.y = c.view(DType::bf16, {24, 16});
         bring_back(c);
       }},
      {"y of fp8",
       {"y", "fp8_e4m3"},
       [](Call& c) {
         c.y = c.view(DType::fp8_e4m3, {24, 24});
         bring_back(c);
       }},
      {"y with too few rows",
       {"y", "0"},
       [](Call& c) {
         c.y = c.view(DType::bf16, {0, 24});
         bring_back(c);
       }},
      {"y that ends behind its lease",
       {"y lies in the heap", "256"},
       [](Call& c) {
         const Tensor one = c.group->allocate({1, 24}, DType::bf16);
         c.y = ConstTensorView(one.data(), DType::bf16, {24, 24}, c.device);
         bring_back(c);
       }},
      {"y with a stride that leaves its lease",
       {"y lies in the heap", "256"},
       [](Call& c) {
         const Tensor one = c.group->allocate({1, 24}, DType::bf16);
         c.y = ConstTensorView::rows(one.data(), DType::bf16, 24, 24, std::int64_t{1} << 40, c.device);
         bring_back(c);
       }},
      {"y of a lease that has ended",
       {"y lies in the heap", "has 0"},
       [](Call& c) {
         c.y = c.group->allocate({24, 24}, DType::bf16);
         bring_back(c);
       }},
      {"row weights that end behind their lease",
       {"row_weights lies in the heap", "400", "256"},
       [](Call& c) {
         const Tensor one = c.group->allocate({1}, DType::fp32);
         c.combine.row_weights = ConstTensorView(one.data(), DType::fp32, {100}, c.device);
         bring_back(c);
       }},
      {"out undefined",
       {"out"},
       [](Call& c) {
         c.out = {};
         bring_back(c);
       }},
      {"out of fp8",
       {"out", "fp8_e4m3"},
       [](Call& c) {
         c.out = TensorView(c.memory, DType::fp8_e4m3, {5, 24}, c.device);
         bring_back(c);
       }},
      {"out with too few rows",
       {"out", "4", "5"},
       [](Call& c) {
         c.out = TensorView(c.memory, DType::bf16, {4, 24}, c.device);
         bring_back(c);
       }},
      {"out with overlapping rows",
       {"out", "23", "24"},
       [](Call& c) {
         c.out = TensorView::rows(c.memory, DType::bf16, 5, 24, 23, c.device);
         bring_back(c);
       }},
      {"weights twice",
       {"weights", "row_weights"},
       [](Call& c) {
         c.combine.weights = c.view(DType::fp32, {5, 3});
         c.combine.row_weights = c.view(DType::fp32, {c.route.capacity()});
         bring_back(c);
       }},
      {"weights of other shape",
       {"weights", "2", "3"},
       [](Call& c) {
         c.combine.weights = c.view(DType::fp32, {5, 2});
         bring_back(c);
       }},
      {"row weights of other shape",
       {"row_weights"},
       [](Call& c) {
         c.combine.row_weights = c.view(DType::fp32, {1});
         bring_back(c);
       }},
      {"row weights of bf16",
       {"row_weights", "bf16"},
       [](Call& c) {
         c.combine.row_weights = c.view(DType::bf16, {c.route.capacity()});
         bring_back(c);
       }},
      {"bias of other shape",
       {"bias", "4", "5"},
       [](Call& c) {
         c.combine.bias[0] = c.view(DType::bf16, {4, 24});
         bring_back(c);
       }},
      {"bias of int32",
       {"bias", "int32"},
       [](Call& c) {
         c.combine.bias[1] = c.view(DType::int32, {5, 24});
         bring_back(c);
       }},
  };
  return cases;
}

class BadCombine : public ::testing::TestWithParam<Mode> {};
TEST_P(BadCombine, IsRefused) { refuse_all(GetParam(), combine_cases()); }

TEST_P(BadCombine, PartialSumsHaveNoWeightsAndNeedLevels) {
  const Scenario scenario = plain_scenario({.ranks = 2}, GetParam());
  const PlainRound plain = plain_round(scenario, 1, Layout::rank_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        for (const ReductionLevels levels : {ReductionLevels::rank, ReductionLevels::none}) {
                          GroupOptions options = scenario.options;
                          options.levels = levels;
                          Group group(rank, options);
                          const PlainInput input(rank.device(), plain, rank.index());
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                          check_plain(place, scenario, plain, rank.index(), got);
                          const Buffer out(rank.device(), std::size_t{6 * 24 * 2});
                          const TensorView out_view(out.data(), DType::bf16, {6, 24}, rank.device());
                          expect_error(place, ErrorCode::invalid_argument,
                                       {"rank_major", levels == ReductionLevels::none ? "none" : "weights"}, [&] {
                                         static_cast<void>(group.combine(got.rows, got.route, out_view,
                                                                         {.weights = input.options.weights}));
                                       });
                          if (levels == ReductionLevels::none) {
                            expect_error(place, ErrorCode::invalid_argument, {"rank_major", "none"},
                                         [&] { static_cast<void>(group.combine(got.rows, got.route, out_view)); });
                          }
                        }
                      }),
            "");
}

INSTANTIATE_TEST_SUITE_P(Modes, BadCombine, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
