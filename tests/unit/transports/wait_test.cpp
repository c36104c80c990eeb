// SPDX-License-Identifier: Apache-2.0
#include "transports/wait.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace railyard::transports {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  std::shared_ptr<bootstrap::AbortFlag> world = std::make_shared<bootstrap::AbortFlag>();
  std::shared_ptr<bootstrap::AbortFlag> group = std::make_shared<bootstrap::AbortFlag>();
  std::vector<std::string> lines;
  std::shared_ptr<diagnostics::Log> log = std::make_shared<diagnostics::Log>(
      LogLevel::warn, [this](LogLevel, std::string_view line) { lines.emplace_back(line); });
  std::array<std::uint64_t, 3> words{};

  [[nodiscard]] Waiter waiter(std::chrono::nanoseconds timeout) const { return {0, 3, timeout, world, group, log}; }
  void wait(const Waiter& waiter, std::uint64_t expected) {
    waiter.wait_for_all({"dispatch", Stage::exchange, 12}, expected,
                        [this](int peer) -> std::uint64_t& { return words[static_cast<std::size_t>(peer)]; });
  }
};

std::string error_of(Fixture& fixture, const Waiter& waiter, std::uint64_t expected) {
  try {
    fixture.wait(waiter, expected);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Waiter, ComparesBySignedDifference) {
  EXPECT_TRUE(Waiter::reached(5, 5));
  EXPECT_FALSE(Waiter::reached(4, 5));
  EXPECT_TRUE(Waiter::reached(3, ~std::uint64_t{0} - 2));  // 3 comes after the wrap
  EXPECT_FALSE(Waiter::reached(~std::uint64_t{0}, 0));
}

TEST(Waiter, TimeoutNamesOperationStageEpochAndWhoIsMissing) {
  Fixture fixture;
  fixture.words = {7, 6, 5};
  const std::string text = error_of(fixture, fixture.waiter(30ms), 7);
  EXPECT_EQ(text,
            "RY-TIMEOUT: rank 0: dispatch, stage exchange, epoch 12: no answer within 30 ms from rank 1 (expected 7, "
            "seen 6), rank 2 (expected 7, seen 5)");
  ASSERT_EQ(fixture.lines.size(), 1U);  // the warning at a tenth of the deadline
  EXPECT_NE(fixture.lines[0].find("rank 1 (expected 7, seen 6)"), std::string::npos) << fixture.lines[0];
}

TEST(Waiter, EndsWhenTheLastPeerArrives) {
  Fixture fixture;
  fixture.words = {7, 7, 6};
  std::thread peer([&] {
    std::this_thread::sleep_for(20ms);
    Waiter::add_release(fixture.words[2], 1);
  });
  fixture.wait(fixture.waiter(60s), 7);
  peer.join();
}

TEST(Waiter, AbortEndsItWithTheReason) {
  Fixture fixture;
  std::thread aborter([&] {
    std::this_thread::sleep_for(20ms);
    fixture.group->raise("no more");
  });
  const std::string text = error_of(fixture, fixture.waiter(60s), 1);
  aborter.join();
  EXPECT_EQ(text, "RY-ABORTED: rank 0: dispatch, stage exchange, epoch 12: no more");
}

}  // namespace
}  // namespace railyard::transports
