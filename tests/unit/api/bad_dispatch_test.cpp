// SPDX-License-Identifier: Apache-2.0
// Arguments of dispatch and route outside their limits are refused at every rank, and nothing is consumed.
#include "unit/api/refused_calls.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

void send(Call& c) { static_cast<void>(c.group->dispatch(c.x, c.ids, c.dispatch)); }

const std::vector<ArgumentCase>& dispatch_cases() {
  static const std::vector<ArgumentCase> cases = {
      {"x undefined",
       {"x"},
       [](Call& c) {
         c.x = {};
         send(c);
       }},
      {"x of one dimension",
       {"x", "1", "2"},
       [](Call& c) {
         c.x = c.view(DType::bf16, {24});
         send(c);
       }},
      {"x of other hidden",
       {"x", "32", "24"},
       [](Call& c) {
         c.x = c.view(DType::bf16, {5, 32});
         send(c);
       }},
      {"x with other tokens than ids",
       {"4", "5"},
       [](Call& c) {
         c.x = c.view(DType::bf16, {4, 24});
         send(c);
       }},
      {"x without memory",
       {"x"},
       [](Call& c) {
         c.x = ConstTensorView(nullptr, DType::bf16, {5, 24}, c.device);
         send(c);
       }},
      {"x with overlapping rows",
       {"x", "20", "24"},
       [](Call& c) {
         c.x = ConstTensorView::rows(c.memory, DType::bf16, 5, 24, 20, c.device);
         send(c);
       }},
      {"x not aligned to its elements",
       {"x", "2"},
       [](Call& c) {
         c.x = ConstTensorView(c.memory + 1, DType::bf16, {5, 24}, c.device);
         send(c);
       }},
      {"too many tokens",
       {"7", "6"},
       [](Call& c) {
         c.x = c.view(DType::bf16, {7, 24});
         c.ids = c.view(DType::int32, {7, 3});
         send(c);
       }},
      {"ids undefined",
       {"ids"},
       [](Call& c) {
         c.ids = {};
         send(c);
       }},
      {"ids of float",
       {"ids", "fp32"},
       [](Call& c) {
         c.ids = c.view(DType::fp32, {5, 3});
         send(c);
       }},
      {"top_k above max_top_k",
       {"4", "3"},
       [](Call& c) {
         c.ids = c.view(DType::int32, {5, 4});
         send(c);
       }},
      {"no top_k",
       {"0"},
       [](Call& c) {
         c.ids = c.view(DType::int32, {5, 0});
         send(c);
       }},
      {"ids with a stride",
       {"ids", "contiguous"},
       [](Call& c) {
         c.ids = ConstTensorView::rows(c.memory, DType::int32, 5, 3, 4, c.device);
         send(c);
       }},
      {"weights of other shape",
       {"weights", "2", "3"},
       [](Call& c) {
         c.dispatch.weights = c.view(DType::fp32, {5, 2});
         send(c);
       }},
      {"weights of bf16",
       {"weights", "bf16"},
       [](Call& c) {
         c.dispatch.weights = c.view(DType::bf16, {5, 3});
         send(c);
       }},
      {"scales without quantised rows",
       {"scales"},
       [](Call& c) {
         c.dispatch.scales = c.view(DType::fp32, {5, 1});
         send(c);
       }},
      {"scales of other shape",
       {"scales", "2", "1"},
       [](Call& c) {
         c.x = c.view(DType::fp8_e4m3, {5, 24});
         c.dispatch.scales = c.view(DType::fp32, {5, 2});
         send(c);
       }},
      {"scales of bf16",
       {"scales", "bf16"},
       [](Call& c) {
         c.x = c.view(DType::fp8_e4m3, {5, 24});
         c.dispatch.scales = c.view(DType::bf16, {5, 1});
         send(c);
       }},
      {"codec for quantised rows",
       {"fp8_e4m3"},
       [](Call& c) {
         c.x = c.view(DType::fp8_e4m3, {5, 24});
         c.dispatch.codec = Codec::fp8_e4m3;
         send(c);
       }},
      {"unknown codec",
       {"codec", "77"},
       [](Call& c) {
         c.dispatch.codec = static_cast<Codec>(77);
         send(c);
       }},
      {"unknown layout",
       {"layout", "77"},
       [](Call& c) {
         c.dispatch.layout = static_cast<Layout>(77);
         send(c);
       }},
      {"unknown tail",
       {"tail", "77"},
       [](Call& c) {
         c.dispatch.tail = static_cast<Tail>(77);
         send(c);
       }},
      {"alignment 0",
       {"alignment", "0", "1", "65536"},
       [](Call& c) {
         c.dispatch.alignment = 0;
         send(c);
       }},
      {"alignment",
       {"alignment", "65537", "65536"},
       [](Call& c) {
         c.dispatch.alignment = 65537;
         send(c);
       }},
      {"capacity",
       {"capacity", "-1"},
       [](Call& c) {
         c.dispatch.capacity = -1;
         send(c);
       }},
      {"load of other shape",
       {"expert_load", "4", "3"},
       [](Call& c) {
         c.dispatch.expert_load = TensorView(c.memory, DType::int32, {4}, c.device);
         send(c);
       }},
      {"load of int64",
       {"expert_load", "int64"},
       [](Call& c) {
         c.dispatch.expert_load = TensorView(c.memory, DType::int64, {3}, c.device);
         send(c);
       }},
      {"cached dispatch with other tokens",
       {"4", "5"},
       [](Call& c) {
         static_cast<void>(c.group->dispatch(c.view(DType::bf16, {4, 24}), c.route));
       }},
      {"route with too many tokens",
       {"7", "6"},
       [](Call& c) {
         static_cast<void>(c.group->route(c.view(DType::int32, {7, 3})));
       }},
      {"allocate of a negative size", {"-4"}, [](Call& c) { static_cast<void>(c.group->allocate({-4}, DType::bf16)); }},
      {"negative timeout", {"-1"}, [](Call& c) { c.group->set_timeout(std::chrono::nanoseconds(-1)); }},
  };
  return cases;
}

const std::vector<ArgumentCase>& low_latency_cases() {
  static const std::vector<ArgumentCase> cases = {
      {"x wider than row_dtype",
       {"fp32", "bf16"},
       [](Call& c) {
         c.x = c.view(DType::fp32, {5, 24});
         send(c);
       }},
      {"codec wider than row_dtype",
       {"fp32", "bf16"},
       [](Call& c) {
         c.dispatch.codec = Codec::fp32;
         send(c);
       }},
  };
  return cases;
}

const std::vector<ArgumentCase>& mask_cases() {
  static const std::vector<ArgumentCase> cases = {
      {"mask of other ranks",
       {"mask", "3", "2"},
       [](Call& c) {
         static_cast<void>(c.group->route_from_mask(c.view(DType::uint8, {5, 3})));
       }},
      {"mask of int32",
       {"mask", "int32"},
       [](Call& c) {
         static_cast<void>(c.group->route_from_mask(c.view(DType::int32, {5, 2})));
       }},
      {"mask undefined", {"mask"}, [](Call& c) { static_cast<void>(c.group->route_from_mask({})); }},
      {"mask with too many tokens",
       {"mask", "7", "6"},
       [](Call& c) {
         static_cast<void>(c.group->route_from_mask(c.view(DType::uint8, {7, 2})));
       }},
      {"load of a mask",
       {"expert_load"},
       [](Call& c) {
         static_cast<void>(c.group->route_from_mask(
             c.view(DType::uint8, {5, 2}), {.expert_load = TensorView(c.memory, DType::int32, {3}, c.device)}));
       }},
  };
  return cases;
}

class BadDispatch : public ::testing::TestWithParam<Mode> {};
TEST_P(BadDispatch, IsRefused) { refuse_all(GetParam(), dispatch_cases()); }
TEST(BadDispatchOfOneMode, RowsThatDoNotFitWireSlots) { refuse_all(Mode::low_latency, low_latency_cases()); }
TEST(BadDispatchOfOneMode, RoutesFromAMask) { refuse_all(Mode::throughput, mask_cases()); }

TEST_P(BadDispatch, ACountOutsideItsRowsIsRefused) {
  Scenario scenario = plain_scenario({.ranks = 2}, GetParam());
  const PlainRound plain = plain_round(scenario, 1, Layout::expert_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        for (const std::int32_t count : {-1, 7}) {
                          const Buffer word(rank.device(), sizeof(count));
                          word.upload(&count, sizeof(count));
                          DispatchOptions options = input.options;
                          options.num_tokens = static_cast<const std::int32_t*>(word.data());
                          expect_error(place, ErrorCode::invalid_argument, {std::to_string(count), "6"}, [&] {
                            static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
                          });
                        }
                        round_trip(place, group, scenario, plain, rank.device());
                      }),
            "");
}

TEST_P(BadDispatch, AnotherGroupsRoute) {
  const Scenario scenario = plain_scenario({.ranks = 2}, GetParam());
  const PlainRound plain = plain_round(scenario, 1, Layout::rank_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        Group other(rank, scenario.options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                        const Buffer out(rank.device(), std::size_t{6 * 24 * 2});
                        const TensorView out_view(out.data(), DType::bf16, {6, 24}, rank.device());
                        expect_error(place, ErrorCode::invalid_argument, {"group"},
                                     [&] { static_cast<void>(other.dispatch(input.x.view, got.route)); });
                        expect_error(place, ErrorCode::invalid_argument, {"group"},
                                     [&] { static_cast<void>(other.combine(got.rows, got.route, out_view)); });
                        round_trip(place, other, scenario, plain, rank.device());
                      }),
            "");
}

TEST(BadDispatchOfOneMode, MasksNeedThroughputModeAndRankMajor) {
  for (const Mode mode : {Mode::throughput, Mode::low_latency}) {
    const Scenario scenario = plain_scenario({.ranks = 2}, mode);
    EXPECT_EQ(run_ranks(2,
                        [&](Rank& rank, const Place& place) {
                          Group group(rank, scenario.options);
                          const Buffer marks(rank.device(), 12);
                          const ConstTensorView mask(marks.data(), DType::uint8, {6, 2}, rank.device());
                          if (mode == Mode::low_latency) {
                            expect_error(place, ErrorCode::unsupported, {"low_latency"},
                                         [&] { static_cast<void>(group.route_from_mask(mask)); });
                          } else {
                            expect_error(place, ErrorCode::unsupported, {"expert_major"}, [&] {
                              static_cast<void>(group.route_from_mask(mask, {.layout = Layout::expert_major}));
                            });
                          }
                        }),
              "");
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, BadDispatch, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
