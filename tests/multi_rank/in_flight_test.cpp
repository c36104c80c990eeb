// SPDX-License-Identifier: Apache-2.0
// Send parts whose receive is pending: up to max_in_flight, received in send order. Several groups side by side.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

class InFlight : public ::testing::TestWithParam<Mode> {};

TEST_P(InFlight, DispatchesUpToTheLimit) {
  Scenario scenario = plain_scenario({}, GetParam());
  scenario.options.max_in_flight = 3;
  scenario.options.heap_bytes = std::size_t{4} << 20;
  std::vector<PlainRound> made;
  for (std::uint64_t i = 0; i < 10; ++i) {
    made.push_back(plain_round(scenario, 10 + i, i % 2 == 0 ? Layout::expert_major : Layout::rank_major));
  }
  EXPECT_EQ(run_ranks(3,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        std::deque<std::pair<std::size_t, PendingDispatch>> pending;
                        std::deque<PlainInput> inputs;
                        const auto receive = [&] {
                          const auto [which, unused] = std::pair{pending.front().first, 0};
                          const Dispatched got = pending.front().second.receive();
                          check_plain(place.at("round " + std::to_string(which)), scenario, made[which], rank.index(),
                                      got);
                          expect_error(place, ErrorCode::destroyed, {},
                                       [&] { static_cast<void>(pending.front().second.receive()); });
                          pending.pop_front();
                          inputs.pop_front();
                        };
                        for (std::size_t i = 0; i < made.size(); ++i) {
                          inputs.emplace_back(rank.device(), made[i], rank.index());
                          const PlainInput& input = inputs.back();
                          if (pending.size() == 3) {
                            expect_error(place, ErrorCode::in_flight, {"3"}, [&] {
                              static_cast<void>(group.dispatch_send(input.x.view, input.ids.view, input.options));
                            });
                            expect_error(place, ErrorCode::in_flight, {},
                                         [&] { static_cast<void>(pending.back().second.receive()); });
                            receive();
                          }
                          pending.emplace_back(i, group.dispatch_send(input.x.view, input.ids.view, input.options));
                        }
                        while (!pending.empty()) {
                          receive();
                        }
                        round_trip(place, group, scenario, made.front(), rank.device());
                      }),
            "");
}

TEST_P(InFlight, CombinesUpToTheLimit) {
  Scenario scenario = plain_scenario({}, GetParam());
  scenario.options.max_in_flight = 2;
  scenario.options.heap_bytes = std::size_t{4} << 20;
  std::vector<PlainRound> made;
  for (std::uint64_t i = 0; i < 3; ++i) {
    made.push_back(plain_round(scenario, 50 + i, Layout::expert_slots));
  }
  EXPECT_EQ(
      run_ranks(3,
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario.options);
                  const auto r = static_cast<std::size_t>(rank.index());
                  std::vector<Route> routes;
                  std::vector<Tensor> inputs;
                  std::vector<Buffer> outputs;
                  std::vector<TensorView> views;
                  for (const PlainRound& plain : made) {
                    const PlainInput input(rank.device(), plain, rank.index());
                    routes.push_back(group.route(input.ids.view, {.layout = plain.round.layout}));
                    inputs.push_back(group.allocate({group.local_experts(), plain.round.granted[r], 24}, DType::bf16));
                    upload(inputs.back(), plain.round.combines.front().y[r].packed);
                    outputs.emplace_back(rank.device(), std::size_t{6 * 24 * 2});
                    views.emplace_back(outputs.back().data(), DType::bf16, std::initializer_list<std::int64_t>{6, 24},
                                       rank.device());
                  }
                  PendingCombine first = group.combine_send(inputs[0], routes[0], views[0]);
                  PendingCombine second = group.combine_send(inputs[1], routes[1], views[1]);
                  expect_error(place, ErrorCode::in_flight, {"2"},
                               [&] { static_cast<void>(group.combine_send(inputs[2], routes[2], views[2])); });
                  expect_error(place, ErrorCode::in_flight, {}, [&] { static_cast<void>(second.receive()); });
                  first.receive().check();
                  PendingCombine third = group.combine_send(inputs[2], routes[2], views[2]);
                  second.receive().check();
                  third.receive().check();
                  expect_error(place, ErrorCode::destroyed, {}, [&] { static_cast<void>(third.receive()); });
                  for (std::size_t i = 0; i < made.size(); ++i) {
                    place.require(outputs[i].download() == made[i].expected.combined.front()[r],
                                  "combine " + std::to_string(i) + " differs from the reference");
                  }
                }),
      "");
}

TEST_P(InFlight, DroppingASendPartSuspendsTheGroupHere) {
  Scenario scenario = plain_scenario({.ranks = 2}, GetParam());
  const PlainRound plain = plain_round(scenario, 70, Layout::rank_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        const PlainInput input(rank.device(), plain, rank.index());
                        {
                          Group group(rank, scenario.options);
                          if (rank.index() == 0) {
                            {
                              const PendingDispatch dropped =
                                  group.dispatch_send(input.x.view, input.ids.view, input.options);
                            }
                            expect_error(place, ErrorCode::suspended, {}, [&] {
                              static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                            });
                          } else {
                            static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                            group.set_timeout(std::chrono::milliseconds(400));
                            expect_error(place, ErrorCode::timeout, {"dispatch"}, [&] {
                              static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                            });
                          }
                        }
                        rank.barrier();
                        Group group(rank, scenario.options);
                        round_trip(place.at("new group"), group, scenario, plain, rank.device());
                      }),
            "");
}

TEST_P(InFlight, GroupsSideBySide) {
  std::vector<Scenario> scenarios;
  std::vector<std::vector<PlainRound>> rounds;
  for (int i = 0; i < 3; ++i) {
    scenarios.push_back(plain_scenario({.ranks = 4, .experts_per_rank = 1 + i, .tokens = 4 + i, .hidden = 8 + 8 * i},
                                       i == 1 ? Mode::throughput : GetParam()));
    rounds.emplace_back();
    for (std::uint64_t j = 0; j < 6; ++j) {
      rounds.back().push_back(
          plain_round(scenarios.back(), 90 + j, j % 2 == 0 ? Layout::expert_major : Layout::rank_major));
    }
  }
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& place) {
                        std::vector<std::unique_ptr<Group>> groups;
                        for (const Scenario& scenario : scenarios) {
                          groups.push_back(std::make_unique<Group>(rank, scenario.options));
                        }
                        std::vector<Dispatched> held;
                        std::deque<PlainInput> inputs;
                        for (std::size_t j = 0; j < 6; ++j) {
                          std::vector<PendingDispatch> pending;
                          for (std::size_t i = 0; i < groups.size(); ++i) {
                            inputs.emplace_back(rank.device(), rounds[i][j], rank.index());
                            pending.push_back(groups[i]->dispatch_send(inputs.back().x.view, inputs.back().ids.view,
                                                                       inputs.back().options));
                          }
                          for (std::size_t i = groups.size(); i-- > 0;) {
                            held.push_back(pending[i].receive());
                            const Place here = place.at("group " + std::to_string(i) + ", round " + std::to_string(j));
                            check_plain(here, scenarios[i], rounds[i][j], rank.index(), held.back());
                            combine_plain(here, *groups[i], scenarios[i], rounds[i][j], held.back().route);
                          }
                        }
                        // Destroyed in different orders on different ranks, one after a move; the others go on.
                        Group moved = std::move(*groups[static_cast<std::size_t>(rank.index()) % 2]);
                        groups[static_cast<std::size_t>(rank.index()) % 2].reset();
                        round_trip(place, *groups[2], scenarios[2], rounds[2][0], rank.device());
                      }),
            "");
}

INSTANTIATE_TEST_SUITE_P(Modes, InFlight, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
