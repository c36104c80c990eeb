// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/watchdog.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace railyard::cli::bench {
namespace {

TEST(WatchdogDeathTest, EndsTheProcessAndNamesWhoDidNotAnswer) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const Watchdog watchdog("the peer", std::chrono::seconds(1));
        std::this_thread::sleep_for(std::chrono::seconds(30));
      },
      testing::ExitedWithCode(1), "the peer did not answer for 1 s");
}

TEST(Watchdog, LeavesInTime) {
  const auto begin = std::chrono::steady_clock::now();
  { const Watchdog watchdog("the peer", std::chrono::seconds(60)); }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

}  // namespace
}  // namespace railyard::cli::bench
