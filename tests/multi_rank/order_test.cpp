// SPDX-License-Identifier: Apache-2.0
// The waits that protect memory from a faster peer, each with a rank that is slow at exactly the wrong place.
#include "api/test_hooks.hpp"
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace railyard::multi_rank {
namespace {

constexpr int kSlow = 1;
constexpr std::chrono::milliseconds kDelay{60};

/// The rank of the calling thread; hooks see no other.
thread_local int this_rank = -1;

/// Delays rank kSlow whenever it enters `stage`.
TestHooks slow_at(transports::Stage stage) {
  TestHooks hooks;
  hooks.at_stage = [stage](transports::Stage at) {
    if (this_rank == kSlow && at == stage) {
      std::this_thread::sleep_for(kDelay);
    }
  };
  return hooks;
}

class Order : public ::testing::TestWithParam<Mode> {};

TEST_P(Order, CombineReturnsWhenNoPeerReadsItsInput) {
  Scenario scenario = plain_scenario({.ranks = 2}, GetParam());
  const TestHooks hooks = slow_at(transports::Stage::pull);
  scenario.options.testing = &hooks;
  const PlainRound plain = plain_round(scenario, 21, Layout::expert_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        this_rank = rank.index();
                        Group group(rank, scenario.options);
                        const auto r = static_cast<std::size_t>(rank.index());
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Route route = group.route(input.ids.view, {.layout = plain.round.layout});
                        const Tensor y = group.allocate({plain.round.granted[r], 24}, DType::bf16);
                        upload(y, plain.round.combines.front().y[r].packed);
                        const Buffer out(rank.device(), std::size_t{6 * 24 * 2});
                        group.combine(y, route, TensorView(out.data(), DType::bf16, {6, 24}, rank.device())).check();
                        fill(y, std::byte{0x42});  // the slow rank reads no more
                        rank.barrier();
                        place.require(out.download() == plain.expected.combined.front()[r],
                                      "combine read rows that had changed");
                      }),
            "");
}

TEST_P(Order, ASlotIsWrittenAgainWhenItsReaderIsDone) {
  Scenario scenario = plain_scenario({.ranks = 2}, GetParam());
  scenario.options.max_in_flight = 1;
  const TestHooks hooks =
      slow_at(GetParam() == Mode::low_latency ? transports::Stage::place : transports::Stage::arrival);
  scenario.options.testing = &hooks;
  std::vector<PlainRound> rounds;
  for (std::uint64_t i = 0; i < 4; ++i) {
    rounds.push_back(plain_round(scenario, 30 + i, Layout::rank_major));
  }
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        this_rank = rank.index();
                        Group group(rank, scenario.options);
                        for (const PlainRound& plain : rounds) {
                          const PlainInput input(rank.device(), plain, rank.index());
                          check_plain(place, scenario, plain, rank.index(),
                                      group.dispatch(input.x.view, input.ids.view, input.options));
                        }
                      }),
            "");
}

TEST_P(Order, DispatchReturnsWhenEveryRowHasArrived) {
  Scenario scenario = plain_scenario({.ranks = 2}, GetParam());
  const TestHooks hooks = slow_at(transports::Stage::write);
  scenario.options.testing = &hooks;
  const PlainRound plain = plain_round(scenario, 40, Layout::expert_slots);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        this_rank = rank.index();
                        Group group(rank, scenario.options);
                        for (int i = 0; i < 3; ++i) {
                          const PlainInput input(rank.device(), plain, rank.index());
                          check_plain(place, scenario, plain, rank.index(),
                                      group.dispatch(input.x.view, input.ids.view, input.options));
                        }
                      }),
            "");
}

INSTANTIATE_TEST_SUITE_P(Modes, Order, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
