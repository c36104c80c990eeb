// SPDX-License-Identifier: Apache-2.0
// Counters that pass 2^31, 2^32, 2^48 (where the signals wrap) and 2^64, and ranks delayed at every stage.
#include "api/test_hooks.hpp"
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace railyard::multi_rank {
namespace {

std::vector<PlainRound> mixed_rounds(const Scenario& scenario, std::size_t count, std::uint64_t seed) {
  constexpr std::array kLayouts = {Layout::rank_major, Layout::expert_major, Layout::expert_slots};
  std::vector<PlainRound> made;
  for (std::size_t i = 0; i < count; ++i) {
    made.push_back(plain_round(scenario, seed + i, kLayouts[i % kLayouts.size()]));
  }
  return made;
}

class Epochs : public ::testing::TestWithParam<std::tuple<Mode, std::uint64_t>> {};

TEST_P(Epochs, PassTheEdge) {
  Scenario scenario = plain_scenario({}, std::get<0>(GetParam()));
  scenario.options.max_in_flight = 3;
  scenario.options.heap_bytes = std::size_t{4} << 20;
  TestHooks hooks;
  hooks.first_epoch = std::get<1>(GetParam()) - 5;
  scenario.options.testing = &hooks;
  const std::vector<PlainRound> made = mixed_rounds(scenario, 18, 1);
  EXPECT_EQ(run_ranks(3,
                      [&](Rank& rank, const Place& outer) {
                        Group group(rank, scenario.options);
                        std::deque<PlainInput> inputs;
                        for (std::size_t i = 0; i < made.size(); i += 3) {
                          // Three in flight, so that the edge is passed between send and receive parts too.
                          std::vector<PendingDispatch> pending;
                          for (std::size_t j = i; j < i + 3; ++j) {
                            inputs.emplace_back(rank.device(), made[j], rank.index());
                            pending.push_back(group.dispatch_send(inputs.back().x.view, inputs.back().ids.view,
                                                                  inputs.back().options));
                          }
                          for (std::size_t j = 0; j < 3; ++j) {
                            const Place place = outer.at("operation " + std::to_string(i + j));
                            const Dispatched got = pending[j].receive();
                            check_plain(place, scenario, made[i + j], rank.index(), got);
                            combine_plain(place, group, scenario, made[i + j], got.route);
                          }
                        }
                      }),
            "");
}

INSTANTIATE_TEST_SUITE_P(Edges, Epochs,
                         ::testing::Combine(::testing::Values(Mode::throughput, Mode::low_latency),
                                            ::testing::Values(std::uint64_t{1} << 31, std::uint64_t{1} << 32,
                                                              std::uint64_t{1} << 47, std::uint64_t{1} << 48,
                                                              std::uint64_t{0})),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) + "_" +
                                  std::to_string(std::get<1>(test.param));
                         });

class Delays : public ::testing::TestWithParam<Mode> {};

TEST_P(Delays, AtEveryStageChangeNothing) {
  Scenario scenario = plain_scenario({.ranks = 4, .tokens = 3}, GetParam());
  scenario.options.heap_bytes = std::size_t{4} << 20;
  std::array<std::atomic<int>, 16> entered{};
  TestHooks hooks;
  hooks.at_stage = [&](transports::Stage stage) {
    static std::atomic<std::uint64_t> next_seed{1};
    thread_local Random random(next_seed++);
    ++entered[static_cast<std::size_t>(stage)];
    const std::int64_t draw = random.below(100);
    if (draw < 5) {
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(2000)));
    } else if (draw < 35) {
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(100)));
    } else if (draw < 60) {
      std::this_thread::yield();
    }
  };
  scenario.options.testing = &hooks;
  const std::vector<PlainRound> made = mixed_rounds(scenario, 12, 50);
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& outer) {
                        Group group(rank, scenario.options);
                        Random random(static_cast<std::uint64_t>(rank.index()));
                        std::deque<Dispatched> held;
                        for (std::size_t i = 0; i < 150; ++i) {
                          const Place place = outer.at("operation " + std::to_string(i));
                          const PlainRound& plain = made[i % made.size()];
                          const PlainInput input(rank.device(), plain, rank.index());
                          held.push_back(group.dispatch(input.x.view, input.ids.view, input.options,
                                                        backend().stream(rank.device())));
                          check_plain(place, scenario, plain, rank.index(), held.back());
                          if (i % 3 != 2) {
                            combine_plain(place, group, scenario, plain, held.back().route);
                          }
                          // Blocks return at random times, so that a grant's memory has just been somebody's.
                          while (held.size() > 3 || (!held.empty() && random.chance(40))) {
                            held.pop_front();
                          }
                        }
                      }),
            "");
  for (const transports::Stage stage :
       {transports::Stage::slot, transports::Stage::exchange, transports::Stage::arrival, transports::Stage::pull,
        transports::Stage::readers}) {
    EXPECT_GT(entered[static_cast<std::size_t>(stage)], 0) << transports::name(stage);
  }
  EXPECT_GT(entered[static_cast<std::size_t>(GetParam() == Mode::throughput ? transports::Stage::write
                                                                            : transports::Stage::place)],
            0);
}

INSTANTIATE_TEST_SUITE_P(Modes, Delays, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
