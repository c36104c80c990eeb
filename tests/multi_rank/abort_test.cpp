// SPDX-License-Identifier: Apache-2.0
// abort() ends waits from any thread; World::run turns one rank's exception into an error of the whole.
#include "api/test_hooks.hpp"
#include "multi_rank/plain.hpp"
#include "multi_rank/shared_count.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace railyard::multi_rank {
namespace {

WorldOptions patient() {
  WorldOptions options;
  options.timeout = std::chrono::minutes(5);
  return options;
}

TEST(Abort, OfAGroupEndsItsWaitAndSuspendsIt) {
  for (const Mode mode : {Mode::throughput, Mode::low_latency}) {
    Scenario scenario = plain_scenario({.ranks = 2}, mode);
    scenario.options.timeout = std::chrono::minutes(5);
    SharedCount waiting;
    TestHooks hooks;
    hooks.at_stage = [&](transports::Stage stage) {
      if (stage == transports::Stage::exchange) waiting.add();
    };
    const PlainRound plain = plain_round(scenario, 5, Layout::rank_major);
    EXPECT_EQ(run_ranks(
                  2,
                  [&](Rank& rank, const Place& place) {
                    {
                      GroupOptions options = scenario.options;
                      options.testing = &hooks;
                      Group group(rank, options);
                      if (rank.index() == 0) {
                        std::thread aborting([&] {
                          static_cast<void>(waiting.wait_for(1));
                          group.abort("the test says so");
                        });
                        const PlainInput input(rank.device(), plain, 0);
                        const auto dispatch = [&] {
                          static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                        };
                        expect_error(place, ErrorCode::aborted, {"the test says so"}, dispatch);
                        aborting.join();
                        expect_error(place, ErrorCode::suspended, {}, dispatch);
                      }
                    }
                    rank.barrier();
                    Group group(rank, scenario.options);
                    round_trip(place, group, scenario, plain, rank.device());
                  },
                  patient()),
              "");
  }
}

TEST(Abort, OfTheWorldEndsEveryWait) {
  World world = backend().make_world(4, patient());
  std::atomic<int> aborted{0};
  std::thread aborting([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    world.abort("from outside");
  });
  EXPECT_THROW(world.run([&](Rank& rank) {
    if (rank.index() == 3) {  // never comes; leaves once the others' waits have ended
      while (aborted < 3) {
        std::this_thread::yield();
      }
      return;
    }
    try {
      Group group(rank, plain_scenario({.ranks = 4}, Mode::throughput).options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::aborted) << error.what();
      EXPECT_NE(std::string(error.what()).find("from outside"), std::string::npos) << error.what();
      ++aborted;
      throw;
    }
  }),
               Error);
  aborting.join();
  // And it may run again.
  int sum = 0;
  world.run([&](Rank& rank) {
    int index = rank.index();
    int all[4] = {};
    rank.all_gather(&index, all, sizeof(index));
    if (index == 2) {
      sum = 1000 * all[0] + 100 * all[1] + 10 * all[2] + all[3];
    }
  });
  EXPECT_EQ(sum, 123);
}

TEST(Abort, ByARankNamesItsReason) {
  World world = backend().make_world(2, patient());
  try {
    world.run([](Rank& rank) {
      if (rank.index() == 1) {
        rank.abort("rank 1 has had enough");
      } else {
        rank.barrier();
      }
    });
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::aborted);
    EXPECT_NE(std::string(error.what()).find("rank 1 has had enough"), std::string::npos) << error.what();
  }
}

template <typename Thrown>
void expect_run_fails(const Thrown& thrown, ErrorCode code, const std::string& part) {
  World world = backend().make_world(3, patient());
  std::atomic<int> ended{0};
  std::atomic<bool> waits_were_aborted{true};
  try {
    world.run([&](Rank& rank) {
      if (rank.index() == 1) {
        ++ended;
        throw thrown;
      }
      try {
        rank.barrier();
        waits_were_aborted = false;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::aborted) {
          waits_were_aborted = false;
        }
        ++ended;
        throw;
      }
    });
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find("rank 1"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
  EXPECT_EQ(ended, 3);
  EXPECT_TRUE(waits_were_aborted);
  std::atomic<int> again{0};
  world.run([&](Rank& rank) {
    rank.barrier();
    ++again;
  });
  EXPECT_EQ(again, 3);
}

TEST(WorldRun, RethrowsTheFirstExceptionWithItsRank) {
  expect_run_fails(std::runtime_error("boom"), ErrorCode::rank_failed, "boom");
  expect_run_fails(Error(ErrorCode::invalid_argument, "seven is not six"), ErrorCode::invalid_argument,
                   "seven is not six");
  expect_run_fails(42, ErrorCode::rank_failed, "rank 1");
}

TEST(WorldRun, CollectivesNameTheRanksThatDidNotCome) {
  WorldOptions options;
  options.timeout = std::chrono::milliseconds(300);
  EXPECT_EQ(run_ranks(
                3,
                [](Rank& rank, const Place& place) {
                  if (rank.index() != 1) {
                    expect_error(place, ErrorCode::timeout, {"1"}, [&] { rank.barrier(); });
                  }
                },
                options),
            "");
  Scenario scenario = plain_scenario({}, Mode::throughput);
  scenario.options.timeout = std::chrono::milliseconds(300);
  EXPECT_EQ(run_ranks(
                3,
                [&](Rank& rank, const Place& place) {
                  if (rank.index() != 1) {
                    expect_error(place, ErrorCode::timeout, {"1"}, [&] { Group group(rank, scenario.options); });
                  }
                },
                options),
            "");
}

TEST(WorldRun, SizesAreChecked) {
  Report report;
  const Place place{&report, "world"};
  expect_error(place, ErrorCode::invalid_argument, {"0", "4096"}, [] { static_cast<void>(World::threads(0)); });
  expect_error(place, ErrorCode::invalid_argument, {"-3", "4096"}, [] { static_cast<void>(World::threads(-3)); });
  expect_error(place, ErrorCode::invalid_argument, {"4097", "4096"}, [] { static_cast<void>(World::threads(4097)); });
  EXPECT_EQ(report.text(), "");
}

}  // namespace
}  // namespace railyard::multi_rank
