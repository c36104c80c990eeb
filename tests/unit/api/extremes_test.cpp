// SPDX-License-Identifier: Apache-2.0
// Shapes whose products leave 64 bits, addresses between elements, output where the peers read.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr ErrorCode kInvalid = ErrorCode::invalid_argument;

TEST(Extremes, ViewsWhoseProductsOverflow) {
  Report report;
  const Place place{&report, "view"};
  const auto expect_refused = [&](std::int64_t first, std::initializer_list<std::int64_t> shape) {
    expect_error(place, kInvalid, {std::to_string(first), "2^56"},
                 [&] { static_cast<void>(ConstTensorView(nullptr, DType::bf16, shape)); });
  };
  constexpr std::int64_t kOne = 1;
  expect_refused(kMost, {kMost});
  expect_refused((kOne << 62) + 1, {(kOne << 62) + 1, 4});
  expect_refused(kOne << 33, {kOne << 33, kOne << 31});
  expect_refused(kMost, {kMost, 0, kMost});
  expect_error(place, kInvalid, {"4611686018427387904"},
               [&] { static_cast<void>(ConstTensorView::rows(nullptr, DType::bf16, 2, 8, std::int64_t{1} << 62)); });
  EXPECT_EQ(ConstTensorView(nullptr, DType::uint8, {std::int64_t{1} << 56}).count(), std::int64_t{1} << 56);
  EXPECT_EQ(report.text(), "");
}

TEST(Extremes, AllocationsThatNoHeapHolds) {
  const Scenario scenario = plain_scenario({.ranks = 1}, Mode::throughput);
  EXPECT_EQ(run_ranks(1,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        expect_error(place, kInvalid, {"2^56"}, [&] {
                          static_cast<void>(group.allocate({(std::int64_t{1} << 62) + 1, 4}, DType::bf16));
                        });
                        expect_error(place, ErrorCode::heap_exhausted, {std::to_string(std::int64_t{1} << 60)}, [&] {
                          static_cast<void>(group.allocate({std::int64_t{1} << 56, 1}, DType::uint8));
                        });
                        expect_error(place, kInvalid, {"dtype", "200"},
                                     [&] { static_cast<void>(group.allocate({4}, static_cast<DType>(200))); });
                      }),
            "");
}

TEST(Extremes, AddressesBetweenElements) {
  const Scenario scenario = plain_scenario({.ranks = 1}, Mode::throughput);
  const PlainRound plain = plain_round(scenario, 3, Layout::expert_major);
  EXPECT_EQ(
      run_ranks(1,
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario.options);
                  const PlainInput input(rank.device(), plain, rank.index());
                  const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                  const Buffer odd(rank.device(), 65536, 1);
                  const auto view = [&](DType dtype, std::initializer_list<std::int64_t> shape) {
                    return TensorView(odd.data(), dtype, shape, rank.device());
                  };
                  const std::int64_t tokens = input.x.view.size(0);
                  const auto refuse = [&](const std::string& what, const std::function<void()>& call) {
                    expect_error(place.at(what), kInvalid, {what, "1 bytes past"}, call);
                  };
                  refuse("x", [&] {
                    static_cast<void>(group.dispatch(view(DType::bf16, {tokens, 24}), input.ids.view, input.options));
                  });
                  refuse("top_k_ids", [&] {
                    static_cast<void>(group.dispatch(input.x.view, view(DType::int32, {tokens, 3}), input.options));
                  });
                  refuse("weights", [&] {
                    DispatchOptions options = input.options;
                    options.weights = view(DType::fp32, {tokens, 3});
                    static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
                  });
                  refuse("out", [&] {
                    static_cast<void>(group.combine(got.rows, got.route, view(DType::bf16, {tokens, 24})));
                  });
                  round_trip(place, group, scenario, plain, rank.device());
                }),
      "");
}

TEST(Extremes, OutputWhereThePeersRead) {
  const Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  const PlainRound plain = plain_round(scenario, 3, Layout::expert_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                        const std::int64_t tokens = input.x.view.size(0);
                        const Tensor both = group.allocate({got.rows.size(0) + tokens, 24}, DType::bf16);
                        fill(both, std::byte{0});
                        const auto part = [&](std::int64_t first, std::int64_t rows) {
                          return TensorView::rows(static_cast<std::byte*>(both.data()) + first * both.stride(0) * 2,
                                                  DType::bf16, rows, 24, both.stride(0), rank.device());
                        };
                        const ConstTensorView y = part(0, got.rows.size(0));
                        expect_error(place, kInvalid, {"out", "y"},
                                     [&] { static_cast<void>(group.combine(y, got.route, part(0, tokens))); });
                        group.combine(y, got.route, part(got.rows.size(0), tokens)).check();
                      }),
            "");
}

}  // namespace
}  // namespace railyard::multi_rank
