// SPDX-License-Identifier: Apache-2.0
// Runs one after another in one world, runs that cannot begin, and what a world logs.
#include "diagnostics/log.hpp"
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if defined(RAILYARD_TEST_THREAD_LIMIT)
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#endif

namespace railyard::multi_rank {
namespace {

using namespace std::chrono_literals;

TEST(World, AFailedRunEndsTheWaitsOfGroupsMadeInEarlierRuns) {
  const Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  const PlainRound plain = plain_round(scenario, 3, Layout::expert_major);
  World world = World::threads(2, {.timeout = 60s});
  std::vector<std::unique_ptr<Group>> groups(2);
  world.run([&](Rank& rank) {
    groups[static_cast<std::size_t>(rank.index())] = std::make_unique<Group>(rank, scenario.options);
  });
  world.run([](Rank&) {});  // a run that leaves nothing behind
  Report report;
  const Place place{&report, "the second run"};
  const auto start = std::chrono::steady_clock::now();
  expect_error(place, ErrorCode::rank_failed, {"rank 0", "a bug"}, [&] {
    world.run([&](Rank& rank) {
      if (rank.index() == 0) {
        std::this_thread::sleep_for(200ms);  // the other waits by then
        throw std::runtime_error("a bug");
      }
      const PlainInput input(rank.device(), plain, rank.index());
      expect_error(place, ErrorCode::aborted, {"a bug"},
                   [&] { static_cast<void>(groups[1]->dispatch(input.x.view, input.ids.view, input.options)); });
    });
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, 30s);
  EXPECT_EQ(report.text(), "");
}

TEST(World, ALogLevelOfTheProgramTakesPrecedenceOverThatOfTheEnvironment) {
  const auto lines_of = [](std::optional<LogLevel> level) {
    int lines = 0;
    World world = World::threads(1, {.log_level = level, .log = [&](LogLevel, std::string_view) { ++lines; }});
    world.run([](Rank& rank) {
      if (rank.log()->enabled(LogLevel::debug)) rank.log()->write(LogLevel::debug, "a line");
    });
    return lines;
  };
  EXPECT_EQ(lines_of(std::nullopt), 0) << "warn is the default";
  EXPECT_EQ(lines_of(LogLevel::debug), 1);
  ::setenv("RAILYARD_LOG", "debug", 1);
  EXPECT_EQ(lines_of(std::nullopt), 1);
  EXPECT_EQ(lines_of(LogLevel::off), 0);
  ::unsetenv("RAILYARD_LOG");
}

TEST(World, TheLongestTimeoutIsNoImmediateOne) {
  World world = World::threads(2, {.timeout = std::chrono::nanoseconds::max()});
  const Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  const PlainRound plain = plain_round(scenario, 3, Layout::expert_major);
  Report report;
  EXPECT_NO_THROW(world.run([&](Rank& rank) {
    if (rank.index() == 1) std::this_thread::sleep_for(30ms);
    rank.barrier();
    Group group(rank, scenario.options);
    round_trip({&report, "rank"}, group, scenario, plain, rank.device());
  }));
  EXPECT_EQ(report.text(), "");
}

#if defined(RAILYARD_TEST_THREAD_LIMIT)
// In a process of its own: as a user whose threads are limited, a world is refused, and a smaller one runs.
[[noreturn]] void run_with_few_threads() {
  static_cast<void>(::setuid(65534));  // root has no such limit
  rlimit few{.rlim_cur = 8, .rlim_max = 8};
  if (::setrlimit(RLIMIT_NPROC, &few) != 0) std::_Exit(2);
  World world = World::threads(64, {.timeout = 60s});
  try {
    world.run([](Rank& rank) { rank.barrier(); });
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  try {
    world.run([](Rank& rank) { rank.barrier(); });
  } catch (const Error& error) {
    std::fprintf(stderr, "again: %s\n", error.what());
  }
  std::_Exit(3);
}

TEST(WorldDeathTest, ThreadsThatTheSystemRefuses) {
  EXPECT_EXIT(run_with_few_threads(), ::testing::ExitedWithCode(3),
              "RY-OUT-OF-MEMORY: rank [0-9]+ failed: the system refused its thread.*\nagain: RY-OUT-OF-MEMORY");
}
#endif

}  // namespace
}  // namespace railyard::multi_rank
