// SPDX-License-Identifier: Apache-2.0
#include "transports/wait.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
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
  void wait(Waiter& waiter, std::uint64_t expected, Stage stage = Stage::exchange) {
    waiter.wait_for_all({"dispatch", stage, 12}, expected, [this](int peer) -> std::uint64_t& {
      if (at_look) at_look(peer);
      return words[static_cast<std::size_t>(peer)];
    });
  }
  std::function<void(int)> at_look;  // before the word of a peer is read
};

std::string error_of(Fixture& fixture, Waiter&& waiter, std::uint64_t expected) {
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

TEST(Waiter, SaysWhatWasSeenLatestWhereItsWordSaysLess) {
  Fixture fixture;
  fixture.words = {7, 3, 7};
  Waiter waiter = fixture.waiter(30ms);
  std::string text;
  try {
    waiter.wait_for_all(
        {"dispatch", Stage::exchange, 7}, 7,
        [&](int peer) -> std::uint64_t& { return fixture.words[static_cast<std::size_t>(peer)]; },
        [](int peer) -> std::uint64_t { return peer == 1 ? 6 : 7; });
  } catch (const Error& error) {
    text = error.what();
  }
  EXPECT_TRUE(text.ends_with("no answer within 30 ms from rank 1 (expected 7, seen 6)")) << text;
  ASSERT_EQ(fixture.lines.size(), 1U);
  EXPECT_TRUE(fixture.lines[0].ends_with("rank 1 (expected 7, seen 6)")) << fixture.lines[0];
}

TEST(Waiter, EndsWhenTheLastPeerArrives) {
  Fixture fixture;
  fixture.words = {7, 7, 6};
  std::thread peer([&] {
    std::this_thread::sleep_for(20ms);
    Waiter::add_release(fixture.words[2], 1);
  });
  Waiter waiter = fixture.waiter(60s);
  fixture.wait(waiter, 7);
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

bool is_zero(const WaitTotals& totals) { return totals.count == 0 && totals.total == 0ns && totals.longest == 0ns; }
bool is_zero(const StageWaits& waits) {
  return is_zero(waits.slot) && is_zero(waits.exchange) && is_zero(waits.arrival) && is_zero(waits.readers);
}

TEST(WaitStatistics, AWaitThatFindsEveryoneChargesNobody) {
  Fixture fixture;
  fixture.words = {7, 8, 7};
  Waiter waiter = fixture.waiter(60s);
  for (const Stage stage : {Stage::slot, Stage::exchange, Stage::arrival, Stage::readers})
    fixture.wait(waiter, 7, stage);
  EXPECT_TRUE(is_zero(waiter.statistics().all));
  ASSERT_EQ(waiter.statistics().peers.size(), 3U);
  for (const StageWaits& waits : waiter.statistics().peers) EXPECT_TRUE(is_zero(waits));
}

TEST(WaitStatistics, ALatePeerIsChargedInItsStageAndOthersAreNot) {
  Fixture fixture;
  fixture.words = {7, 6, 7};
  Waiter waiter = fixture.waiter(60s);
  for (int late = 1; late <= 2; ++late) {
    int looks = 0;
    fixture.at_look = [&](int peer) {
      if (peer != 1 || ++looks < 10) return;
      std::this_thread::sleep_for(3ms);
      fixture.words[1] = 7;
    };
    fixture.words[1] = 6;
    fixture.wait(waiter, 7, Stage::arrival);
    const WaitTotals charged = waiter.statistics().peers[1].arrival;
    EXPECT_EQ(charged.count, static_cast<std::uint64_t>(late));
    EXPECT_GE(charged.total, late * 3ms);
    EXPECT_GE(charged.longest, 3ms);
    EXPECT_EQ(waiter.statistics().all.arrival.total, charged.total);  // nobody else was waited for
    EXPECT_LE(charged.longest, charged.total);
  }
  StageWaits rest = waiter.statistics().peers[1];
  rest.arrival = {};
  EXPECT_TRUE(is_zero(rest));
  EXPECT_TRUE(is_zero(waiter.statistics().peers[0]));
  EXPECT_TRUE(is_zero(waiter.statistics().peers[2]));
}

TEST(WaitStatistics, APeerThatComesFirstIsNotChargedWithTheLastOnesTime) {
  Fixture fixture;
  fixture.words = {6, 6, 6};  // peer 2, then 1, then 0: against the order in which they are looked at
  Waiter waiter = fixture.waiter(60s);
  constexpr std::array<int, 3> kLate{1000, 20, 10};  // looks; beyond the spins, which look at one peer only
  std::array<int, 3> looks{};
  fixture.at_look = [&](int peer) {
    const auto index = static_cast<std::size_t>(peer);
    if (++looks[index] < kLate[index]) return;
    if (fixture.words[index] == 6) std::this_thread::sleep_for(2ms);
    fixture.words[index] = 7;
  };
  fixture.wait(waiter, 7);
  const WaitStatistics& statistics = waiter.statistics();
  EXPECT_GE(statistics.peers[2].exchange.total, 2ms);
  EXPECT_GE(statistics.peers[1].exchange.total, statistics.peers[2].exchange.total + 2ms);
  EXPECT_GE(statistics.peers[0].exchange.total, statistics.peers[1].exchange.total + 2ms);
  EXPECT_EQ(statistics.all.exchange.total, statistics.peers[0].exchange.total);
  EXPECT_EQ(statistics.all.exchange.count, 1U);
}

TEST(Waiter, APatientOneWarnsAtEachDeadlineAndGoesOn) {
  Fixture fixture;
  fixture.words = {7, 6, 7};
  Waiter waiter = fixture.waiter(30ms);
  waiter.set_patient(true);
  const auto start = std::chrono::steady_clock::now();
  // The peer comes once it was warned of five times, by the thread that looks, or after a hundred times as long.
  fixture.at_look = [&](int peer) {
    const bool comes = fixture.lines.size() >= 5 || std::chrono::steady_clock::now() - start > 15s;
    if (peer == 1 && comes) Waiter::store_release(fixture.words[1], 7);
  };
  fixture.wait(waiter, 7);
  const auto deadlines = (std::chrono::steady_clock::now() - start) / 30ms;
  fixture.at_look = nullptr;
  ASSERT_GE(fixture.lines.size(), 5U);
  EXPECT_LE(fixture.lines.size(), static_cast<std::size_t>(deadlines) + 1);  // the first comes soon
  for (const std::string& line : fixture.lines) {
    EXPECT_NE(line.find("rank 1 (expected 7, seen 6)"), std::string::npos) << line;
  }
  fixture.words[1] = 6;
  fixture.group->raise("rank 1: its process has gone");
  const std::string text = error_of(fixture, std::move(waiter), 7);
  EXPECT_NE(text.find("RY-ABORTED"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 1: its process has gone"), std::string::npos) << text;
}

TEST(Waiter, WaitsForItsPeersAlone) {
  Fixture fixture;
  fixture.words = {7, 6, 7};
  Waiter waiter = fixture.waiter(30ms);
  waiter.set_peers({0, 2});
  fixture.wait(waiter, 7);
  const std::string text = error_of(fixture, std::move(waiter), 8);
  EXPECT_NE(text.find("rank 0 (expected 8, seen 7), rank 2 (expected 8, seen 7)"), std::string::npos) << text;
}

TEST(WaitStatistics, AWaitThatGivesUpChargesTheMissing) {
  Fixture fixture;
  fixture.words = {7, 7, 6};
  Waiter waiter = fixture.waiter(20ms);
  EXPECT_THROW(fixture.wait(waiter, 7), Error);
  EXPECT_EQ(waiter.statistics().peers[2].exchange.count, 1U);
  EXPECT_GE(waiter.statistics().peers[2].exchange.total, 20ms);
  EXPECT_GE(waiter.statistics().all.exchange.total, 20ms);
  EXPECT_TRUE(is_zero(waiter.statistics().peers[1]));
}

}  // namespace
}  // namespace railyard::transports
