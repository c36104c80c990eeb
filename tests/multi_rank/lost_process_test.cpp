// SPDX-License-Identifier: Apache-2.0
// Processes that are killed or stopped: the others go on, a stopped one that comes back harms nobody, and nothing that
// is destroyed waits for the dead.
#include "api/test_hooks.hpp"
#include "multi_rank/plain.hpp"
#include "multi_rank/process_world.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace railyard::multi_rank {
namespace {

using Clock = std::chrono::steady_clock;
using transports::Stage;
using namespace std::chrono_literals;

#if defined(RAILYARD_SANITIZED)
constexpr auto kRollCall = 4s;
#else
constexpr auto kRollCall = 1s;
#endif

/// Runs `body` in processes; those of `killed` end by SIGKILL, all others well. `beside(world)` runs here meanwhile.
std::string run_processes(int ranks, const std::vector<int>& killed,
                          const std::function<void(Rank&, const Place&)>& body,
                          const std::function<void(const ProcessWorld&)>& beside = {},
                          ProcessWorld::Meeting meeting = ProcessWorld::Meeting::shared_page) {
  Report report;
  WorldOptions options;
  options.timeout = case_deadline();
  options.log_level = LogLevel::off;
  ProcessWorld world(
      ranks, options,
      [&](Rank& rank) {
        body(rank, {&report, "rank " + std::to_string(rank.index())});
      },
      report, {}, meeting);
  if (beside) beside(world);
  for (int rank = 0; rank < ranks; ++rank) {
    const int status = world.finish(rank, report);
    const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    const bool should_be = std::ranges::find(killed, rank) != killed.end();
    if (should_be ? !was_killed : status != 0) {
      report.fail("the process of rank " + std::to_string(rank) + " ended with status " + std::to_string(status));
    }
  }
  return report.text();
}

void expect_named(const Place& place, const std::function<void()>& call, const std::string& name) {
  try {
    for (int repeat = 0; repeat < 100; ++repeat) call();
    place.fail("nothing was noticed");
  } catch (const Error& error) {
    place.require(std::string(error.what()).find(name) != std::string::npos, error.what());
  }
}

class LostProcess : public ::testing::TestWithParam<Mode> {
 protected:
  Scenario scenario_ = plain_scenario({.ranks = 4}, GetParam());
  PlainRound plain_ = plain_round(scenario_, 9, Layout::expert_major);
};

TEST_P(LostProcess, KilledOnesAreMaskedAtOnceOneAfterTheOther) {
  const PlainRound without_2 = without_ranks(scenario_, plain_, {2});
  const PlainRound without_2_3 = without_ranks(scenario_, plain_, {2, 3});
  EXPECT_EQ(run_processes(
                4, {2, 3},
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario_.options);
                  round_trip(place, group, scenario_, plain_, rank.device());
                  rank.barrier();
                  if (rank.index() == 2) ::raise(SIGKILL);
                  const Clock::time_point start = Clock::now();
                  expect_named(
                      place, [&] { round_trip(place, group, scenario_, plain_, rank.device()); }, "rank 2");
                  place.require(group.recover().masked == std::vector<int>{2}, "other ranks than 2 are masked");
                  if (rank.index() == 3) {
                    for (int repeat = 0; repeat < 5; ++repeat) {
                      round_trip(place, group, scenario_, without_2, rank.device());
                    }
                    ::raise(SIGKILL);
                  }
                  expect_named(
                      place, [&] { round_trip(place, group, scenario_, without_2, rank.device()); }, "rank 3");
                  place.require(group.recover().masked == std::vector<int>{2, 3}, "other ranks than 2, 3 are masked");
                  for (int repeat = 0; repeat < 5; ++repeat) {
                    round_trip(place, group, scenario_, without_2_3, rank.device());
                  }
                  place.require(Clock::now() - start < 20s, "deadlines passed");
                  // The world of all is over: it makes no new groups.
                  expect_error(place, ErrorCode::aborted, {"its process has gone"}, [&] { rank.barrier(); });
                  expect_error(place, ErrorCode::aborted, {"its process has gone"},
                               [&] { const Group other(rank, scenario_.options); });
                }),
            "");
}

TEST_P(LostProcess, OneKilledDuringARecoveryCostsAnotherRecovery) {
  const PlainRound left = without_ranks(scenario_, plain_, {2, 3});
  EXPECT_EQ(run_processes(4, {2, 3},
                          [&](Rank& rank, const Place& place) {
                            Group group(rank, scenario_.options);
                            round_trip(place, group, scenario_, plain_, rank.device());
                            rank.barrier();
                            if (rank.index() == 2) ::raise(SIGKILL);
                            if (rank.index() == 3) {
                              // In the middle of the others' recovery, or at its end.
                              while (!group.is_suspended()) std::this_thread::yield();
                              std::thread([] { ::raise(SIGKILL); }).detach();
                              static_cast<void>(group.recover());
                              ::raise(SIGKILL);
                            }
                            for (int attempt = 0; group.masked_ranks().size() < 2 && attempt < 10; ++attempt) {
                              try {
                                static_cast<void>(group.recover());
                                round_trip(place, group, scenario_, left, rank.device());
                              } catch (const Error& error) {
                                place.require(error.code() == ErrorCode::aborted || error.code() == ErrorCode::timeout,
                                              error.what());
                              }
                            }
                            if (group.is_suspended()) static_cast<void>(group.recover());
                            for (int repeat = 0; repeat < 5; ++repeat) {
                              round_trip(place, group, scenario_, left, rank.device());
                            }
                          }),
            "");
}

TEST_P(LostProcess, AStoppedOneThatComesBackIsToldAndHarmsNobody) {
  const PlainRound left = without_ranks(scenario_, plain_, {1});
  for (const Stage stage : {Stage::write, Stage::pull}) {
    bool stops = false;  // in the child's copy
    TestHooks hooks;
    hooks.at_stage = [&](Stage at) {
      if (!stops || at != stage) return;
      stops = false;
      ::raise(SIGSTOP);
    };
    EXPECT_EQ(run_processes(
                  4, {},
                  [&](Rank& rank, const Place& outer) {
                    const Place place = outer.at(std::string(transports::name(stage)));
                    GroupOptions options = scenario_.options;
                    options.testing = &hooks;
                    Group group(rank, options);
                    round_trip(place, group, scenario_, plain_, rank.device());
                    const PlainInput input(rank.device(), plain_, rank.index());
                    const Dispatched kept = group.dispatch(input.x.view, input.ids.view, input.options);
                    rank.barrier();
                    group.set_timeout(300ms);
                    stops = rank.index() == 1;
                    if (rank.index() == 1) {
                      const auto call = [&] { round_trip(place, group, scenario_, plain_, rank.device()); };
                      expect_named(place, call, "rank");
                      expect_error(place, ErrorCode::masked, {"ranks 0, 2, 3 have agreed to go on without rank 1"},
                                   [&] { static_cast<void>(group.recover()); });
                      return expect_error(place, ErrorCode::masked, {"without rank 1"}, call);
                    }
                    expect_named(
                        place, [&] { round_trip(place, group, scenario_, plain_, rank.device()); }, "rank");
                    group.set_timeout(kRollCall);
                    place.require(group.recover().masked == std::vector<int>{1}, "other ranks than 1 are masked");
                    group.set_timeout(case_deadline());
                    for (int repeat = 0; repeat < 100; ++repeat) {  // it comes back in their middle
                      round_trip(place, group, scenario_, left, rank.device());
                      std::this_thread::sleep_for(10ms);
                    }
                    check_plain(place.at("kept"), scenario_, plain_, rank.index(), kept);
                  },
                  [&](const ProcessWorld& world) {
                    world.wait_until_stopped(1);
                    std::this_thread::sleep_for(kRollCall + 800ms);
                    ::kill(world.process(1), SIGCONT);
                  }),
              "");
  }
}

TEST_P(LostProcess, RankZeroTakesTheWorldWithIt) {
  EXPECT_EQ(run_processes(4, {0},
                          [&](Rank& rank, const Place& place) {
                            Group group(rank, scenario_.options);
                            round_trip(place, group, scenario_, plain_, rank.device());
                            rank.barrier();
                            if (rank.index() == 0) {
                              std::this_thread::sleep_for(50ms);  // the others have the barrier's answer
                              ::raise(SIGKILL);
                            }
                            expect_named(
                                place, [&] { round_trip(place, group, scenario_, plain_, rank.device()); }, "rank 0");
                            expect_error(place, ErrorCode::aborted, {"rank 0: its process has gone"},
                                         [&] { static_cast<void>(group.recover()); });
                          }),
            "");
}

TEST_P(LostProcess, RankZeroIsMaskedWhereAllMeetElsewhere) {
  const PlainRound without_0 = without_ranks(scenario_, plain_, {0});
  const PlainRound without_0_1 = without_ranks(scenario_, plain_, {0, 1});
  EXPECT_EQ(run_processes(
                4, {0, 1},
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario_.options);
                  round_trip(place, group, scenario_, plain_, rank.device());
                  rank.barrier();
                  if (rank.index() == 0) ::raise(SIGKILL);
                  expect_named(
                      place, [&] { round_trip(place, group, scenario_, plain_, rank.device()); }, "rank 0");
                  place.require(group.recover().masked == std::vector<int>{0}, "other ranks than 0 are masked");
                  if (rank.index() == 1) {  // now the lowest
                    for (int repeat = 0; repeat < 5; ++repeat) {
                      round_trip(place, group, scenario_, without_0, rank.device());
                    }
                    ::raise(SIGKILL);
                  }
                  expect_named(
                      place, [&] { round_trip(place, group, scenario_, without_0, rank.device()); }, "rank 1");
                  place.require(group.recover().masked == std::vector<int>{0, 1}, "other ranks than 0, 1 are masked");
                  for (int repeat = 0; repeat < 5; ++repeat) {
                    round_trip(place, group, scenario_, without_0_1, rank.device());
                  }
                },
                {}, ProcessWorld::Meeting::external),
            "");
}

TEST_P(LostProcess, TeardownWaitsForNobody) {
  for (const int signal : {SIGKILL, SIGSTOP}) {
    EXPECT_EQ(run_processes(
                  4, {3},
                  [&](Rank& rank, const Place& place) {
                    Clock::time_point start;
                    {
                      Group group(rank, scenario_.options);
                      round_trip(place, group, scenario_, plain_, rank.device());
                      const PlainInput input(rank.device(), plain_, rank.index());
                      rank.barrier();
                      if (rank.index() == 3) ::raise(signal);
                      group.set_timeout(200ms);
                      expect_named(
                          place,
                          [&] { static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options)); },
                          "rank 3");
                      start = Clock::now();
                    }
                    place.require(Clock::now() - start < 2s, "the group took long to destroy");
                  },
                  [&](const ProcessWorld& world) {
                    if (signal == SIGKILL) return;
                    world.wait_until_stopped(3);
                    std::this_thread::sleep_for(1500ms);  // the others have ended
                    ::kill(world.process(3), SIGKILL);
                  }),
              "");
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, LostProcess, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
