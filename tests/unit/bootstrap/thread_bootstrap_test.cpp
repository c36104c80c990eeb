// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/thread_bootstrap.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::bootstrap {
namespace {

using namespace std::chrono_literals;

void run_all(std::vector<std::shared_ptr<Bootstrap>>& ranks, const std::function<void(Bootstrap&)>& function) {
  std::vector<std::thread> threads;
  for (auto& rank : ranks) threads.emplace_back([&] { function(*rank); });
  for (std::thread& thread : threads) thread.join();
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ThreadBootstrap, GathersInRankOrderManyTimes) {
  auto ranks = make_thread_bootstraps(5);
  run_all(ranks, [](Bootstrap& self) {
    for (int round = 0; round < 200; ++round) {
      const int mine = 1000 * round + self.rank();
      std::vector<int> all(5);
      self.all_gather(&mine, all.data(), sizeof(mine), "round", 10s);
      std::vector<int> expected(5);
      std::iota(expected.begin(), expected.end(), 1000 * round);
      ASSERT_EQ(all, expected);
    }
  });
}

TEST(ThreadBootstrap, TimeoutNamesTheMissingAndMayBeRepeated) {
  auto ranks = make_thread_bootstraps(3);
  for (const int rank : {0, 2}) {
    const std::string text =
        error_of([&] { ranks[static_cast<std::size_t>(rank)]->all_gather(nullptr, nullptr, 0, "meeting", 20ms); });
    EXPECT_NE(text.find("RY-TIMEOUT: meeting"), std::string::npos) << text;
    EXPECT_NE(text.find("did not arrive within 20 ms"), std::string::npos) << text;
    EXPECT_NE(text.find('1'), std::string::npos) << text;
  }
  run_all(ranks, [](Bootstrap& self) { self.all_gather(nullptr, nullptr, 0, "meeting", 10s); });
}

TEST(ThreadBootstrap, DifferentCallsAreAnErrorOnAllRanksAndTheNextWorks) {
  auto ranks = make_thread_bootstraps(2);
  run_all(ranks, [](Bootstrap& self) {
    const char* purpose = self.rank() == 0 ? "tea" : "coffee";
    const std::string text = error_of([&] { self.all_gather(nullptr, nullptr, 0, purpose, 10s); });
    EXPECT_NE(text.find("RY-OPERATION-MISMATCH"), std::string::npos) << text;
    EXPECT_NE(text.find("tea"), std::string::npos) << text;
    EXPECT_NE(text.find("coffee"), std::string::npos) << text;
    self.all_gather(nullptr, nullptr, 0, "water", 10s);
  });
}

TEST(ThreadBootstrap, AbortEndsRunningAndLaterCollectives) {
  auto ranks = make_thread_bootstraps(2);
  std::thread aborter([&] {
    std::this_thread::sleep_for(20ms);
    ranks[1]->abort("enough");
    ranks[1]->abort("a later reason is not the reason");
  });
  const std::string running = error_of([&] { ranks[0]->all_gather(nullptr, nullptr, 0, "meeting", 60s); });
  aborter.join();
  EXPECT_EQ(running, "RY-ABORTED: meeting: enough");
  EXPECT_EQ(error_of([&] { ranks[0]->all_gather(nullptr, nullptr, 0, "again", 60s); }), "RY-ABORTED: again: enough");
}

TEST(ThreadBootstrap, AbortReachesEarlierMeetingsAndNotLaterOnes) {
  auto first = make_thread_bootstraps(2);
  auto second = make_thread_bootstraps(1, {first[1]});
  auto third = make_thread_bootstraps(1, {first[0], second[0]});
  second[0]->abort("stop");
  EXPECT_EQ(error_of([&] { first[0]->all_gather(nullptr, nullptr, 0, "meeting", 60s); }), "RY-ABORTED: meeting: stop");
  EXPECT_FALSE(third[0]->abort_flag()->raised());
  third[0]->abort("stop too");
  EXPECT_EQ(first[0]->abort_flag()->reason(), "stop");
}

TEST(ThreadBootstrap, SharedObjectsOutliveARankThatLeaves) {
  auto ranks = make_thread_bootstraps(2);
  std::weak_ptr<void> watch;
  run_all(ranks, [&](Bootstrap& self) {
    auto mine = std::make_shared<int>(self.rank());
    if (self.rank() == 0) watch = mine;
    const auto all = self.share(std::move(mine), "sharing", 10s);
    ASSERT_EQ(all.size(), 2U);
    for (int rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(*std::static_pointer_cast<int>(all[static_cast<std::size_t>(rank)]), rank);
    }
  });
  EXPECT_TRUE(watch.expired());
  auto object = std::make_shared<int>(7);
  watch = object;
  EXPECT_NE(error_of([&] { static_cast<void>(ranks[0]->share(std::move(object), "sharing", 10ms)); }), "");
  EXPECT_TRUE(watch.expired()) << "a rank that gives up takes its object back";
}

}  // namespace
}  // namespace railyard::bootstrap
