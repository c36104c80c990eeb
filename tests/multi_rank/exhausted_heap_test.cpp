// SPDX-License-Identifier: Apache-2.0
// A rank without room for its lease takes part all the same: every rank learns of it, nobody waits for it.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <tuple>
#include <utility>

namespace railyard::multi_rank {
namespace {

constexpr int kExhausted = 1;

class ExhaustedRank : public ::testing::TestWithParam<std::tuple<Mode, Layout>> {
 protected:
  Scenario scenario_ = plain_scenario({}, std::get<0>(GetParam()));
  Layout layout_ = std::get<1>(GetParam());
};

/// The round when rank kExhausted grants nothing.
PlainRound without_grant(const Scenario& scenario, PlainRound plain) {
  plain.round.granted[kExhausted] = 0;
  plain.round.payloads.front().exhausted_rank = kExhausted;
  plain.round.combines.front().y[kExhausted].rows = 0;
  plain.round.combines.front().y[kExhausted].packed.clear();
  Scenario alone = scenario;
  alone.rounds = {plain.round};
  plain.expected = expect(alone).front();
  return plain;
}

TEST_P(ExhaustedRank, EveryRankIsToldAndTheNextOperationWorks) {
  scenario_.options.levels = ReductionLevels::rank;
  const PlainRound plain = plain_round(scenario_, 1, layout_);
  const PlainRound lossy = without_grant(scenario_, plain);
  ASSERT_EQ(lossy.expected.dispatched.front().status.code, ErrorCode::heap_exhausted);
  ASSERT_GT(lossy.expected.dispatched.front().status.count, 0);
  EXPECT_EQ(run_ranks(3,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        for (int repeat = 0; repeat < 3; ++repeat) {
                          const PlainInput input(rank.device(), plain, rank.index());
                          std::optional<ExhaustedHeap> exhausted;
                          if (rank.index() == kExhausted) {
                            exhausted.emplace(group, backend().stream(rank.device()));
                          }
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                          exhausted.reset();
                          check_plain(place.at("exhausted"), scenario_, lossy, rank.index(), got);
                          expect_error(place, ErrorCode::heap_exhausted,
                                       {"rank 1", std::to_string(got.status().needed)}, [&] { got.check(); });
                          expect_error(place, ErrorCode::heap_exhausted, {"rank 1"}, [&] { got.route.check(); });
                          place.equal(std::int64_t{rank.index() == kExhausted
                                                       ? 0
                                                       : plain.round.granted[static_cast<std::size_t>(rank.index())]},
                                      got.route.capacity(), "capacity");
                          combine_plain(place.at("lossy combine"), group, scenario_, lossy, got.route);
                          round_trip(place.at("after"), group, scenario_, plain, rank.device());
                        }
                      }),
            "");
}

TEST_P(ExhaustedRank, AlongARouteMadeBefore) {
  const PlainRound plain = plain_round(scenario_, 2, layout_);
  EXPECT_EQ(
      run_ranks(3,
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario_.options);
                  const PlainInput input(rank.device(), plain, rank.index());
                  const Route route = group.route(input.ids.view, {.layout = layout_});
                  std::optional<ExhaustedHeap> exhausted;
                  if (rank.index() == kExhausted) {
                    exhausted.emplace(group, backend().stream(rank.device()));
                  }
                  const Dispatched lossy = group.dispatch(input.x.view, route, {.weights = input.options.weights});
                  exhausted.reset();
                  place.require(lossy.status().code == ErrorCode::heap_exhausted,
                                "status is " + lossy.status().message());
                  place.equal(kExhausted, lossy.status().rank, "rank of the status");
                  place.require(lossy.status().needed > lossy.status().capacity, "bytes needed exceed bytes free");
                  place.require(route.status().ok(), "the route's own status stays ok");
                  // The route is whole, so the other ranks' rows are too.
                  if (rank.index() != kExhausted) {
                    const PayloadFormat format{.scales = {}, .hidden = scenario_.options.hidden, .weights = true};
                    compare_dispatched(place, plain.expected.dispatched.front(), rank.index(), format, Poison{}, lossy);
                  }
                  const Dispatched again = group.dispatch(input.x.view, route, {.weights = input.options.weights});
                  check_plain(place.at("again"), scenario_, plain, rank.index(), again);
                  combine_plain(place, group, scenario_, plain, route);
                }),
      "");
}

TEST_P(ExhaustedRank, CombineOfPlainMemoryThatCannotBeCopied) {
  const PlainRound plain = plain_round(scenario_, 3, layout_);
  const PlainRound lossy = without_grant(scenario_, plain);
  EXPECT_EQ(run_ranks(3,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        const auto r = static_cast<std::size_t>(rank.index());
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Route route = group.route(input.ids.view, {.layout = layout_});
                        const Rows& content = plain.round.combines.front().y[r];
                        const Buffer memory(rank.device(), content.packed.size());
                        memory.upload(content.packed.data(), content.packed.size());
                        const ConstTensorView y =
                            layout_ == Layout::expert_slots
                                ? ConstTensorView(memory.data(), DType::bf16,
                                                  {group.local_experts(), plain.round.granted[r], 24}, rank.device())
                                : ConstTensorView(memory.data(), DType::bf16, {content.rows, 24}, rank.device());
                        const Buffer out(rank.device(), std::size_t{6 * 24 * 2});
                        const TensorView out_view(out.data(), DType::bf16, {6, 24}, rank.device());
                        {
                          std::optional<ExhaustedHeap> exhausted;
                          if (rank.index() == kExhausted) {
                            exhausted.emplace(group, backend().stream(rank.device()));
                          }
                          // Its rows are missing to every token that had one there; the others are complete.
                          const Combined combined = group.combine(y, route, out_view);
                          place.require(combined.status().code == ErrorCode::heap_exhausted,
                                        "status is " + combined.status().message());
                          place.equal(kExhausted, combined.status().rank, "rank of the status");
                          place.require(combined.status().needed > combined.status().capacity,
                                        "bytes needed exceed bytes free");
                          expect_error(place, ErrorCode::heap_exhausted, {"rank 1"}, [&] { combined.check(); });
                          place.require(out.download() == lossy.expected.combined.front()[r],
                                        "lossy combine differs from the reference");
                        }
                        group.combine(y, route, out_view).check();
                        place.require(out.download() == plain.expected.combined.front()[r],
                                      "combine differs from the reference");
                        place.require(group.statistics().bytes_copied > 0, "the copy was not counted");
                      }),
            "");
}

TEST(Allocate, RefusesWithBytesWantedAndFree) {
  Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  EXPECT_EQ(
      run_ranks(
          2,
          [&](Rank& rank, const Place& place) {
            Group group(rank, scenario.options);
            const GroupStatistics before = group.statistics();
            const std::size_t too_much = before.heap_bytes + 4096;
            const std::string wanted = std::to_string(too_much);
            expect_error(place, ErrorCode::heap_exhausted, {wanted}, [&] {
              static_cast<void>(group.allocate({static_cast<std::int64_t>(too_much)}, DType::uint8));
            });
            place.equal(before.heap_bytes_in_use, group.statistics().heap_bytes_in_use, "bytes in use after a refusal");
            {
              const Tensor three = group.allocate({2, 3, 5}, DType::bf16);
              place.equal(std::int64_t{8}, three.stride(1), "rows of 10 bytes are padded to 16");
              place.equal(std::int64_t{24}, three.stride(0), "outer stride");
              place.require(three.lease().bytes() >= 96, "the lease covers the tensor");
              place.require(group.statistics().heap_bytes_in_use >= before.heap_bytes_in_use + 96, "bytes in use");
              const Lease copy = three.lease();
              place.require(static_cast<bool>(copy), "a copied lease holds the block");
            }
            place.equal(before.heap_bytes_in_use, group.statistics().heap_bytes_in_use, "bytes in use after release");
          }),
      "");
}

INSTANTIATE_TEST_SUITE_P(Modes, ExhaustedRank,
                         ::testing::Combine(::testing::Values(Mode::throughput, Mode::low_latency),
                                            ::testing::Values(Layout::rank_major, Layout::expert_major,
                                                              Layout::expert_slots)),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) + "_" +
                                  std::string(name(std::get<1>(test.param)));
                         });

}  // namespace
}  // namespace railyard::multi_rank
