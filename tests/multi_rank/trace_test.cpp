// SPDX-License-Identifier: Apache-2.0
// What groups tell of their time: whom they waited for, and RAILYARD_TRACE, also of a world that failed.
#include "api/test_hooks.hpp"
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using transports::Stage;

constexpr int kRanks = 3;
constexpr int kLate = 2;

thread_local int this_rank = 0;

class WaitStatisticsOf : public ::testing::TestWithParam<Stage> {};

// Arrival apart from transfer: the same delay, before a rank comes or while it writes.
TEST_P(WaitStatisticsOf, ChargesALateRankInTheStageInWhichItIsLate) {
  Scenario scenario = plain_scenario({.ranks = kRanks}, Mode::throughput);
  const bool comes_late = GetParam() == Stage::exchange;
  std::atomic<int> waiting{0};
  TestHooks hooks;
  hooks.at_stage = [&](Stage stage) {
    if (this_rank != kLate) {
      if (stage == (comes_late ? Stage::exchange : Stage::arrival)) ++waiting;
    } else if (stage == GetParam()) {
      while (waiting < kRanks - 1) std::this_thread::yield();
      std::this_thread::sleep_for(200ms);  // more than a busy machine costs
    }
  };
  scenario.options.testing = &hooks;
  const PlainRound plain = plain_round(scenario, 70, Layout::expert_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        this_rank = rank.index();
                        Group group(rank, scenario.options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                        const WaitStatistics statistics = group.wait_statistics();
                        place.equal(statistics.peers.size(), std::size_t{kRanks}, "peers");
                        place.equal(statistics.peers[static_cast<std::size_t>(this_rank)].exchange.count,
                                    std::uint64_t{0}, "waits of a rank for itself");
                        if (this_rank == kLate) return;
                        const StageWaits& late = statistics.peers[kLate];
                        const WaitTotals& charged = comes_late ? late.exchange : late.arrival;
                        const WaitTotals& other = comes_late ? late.arrival : late.exchange;
                        place.equal(charged.count, std::uint64_t{1}, "waits for the late rank");
                        place.require(charged.total > 10ms, "the late rank is charged with its delay");
                        place.require(charged.total > other.total, "the late rank is charged in the right stage");
                        const WaitTotals& all = comes_late ? statistics.all.exchange : statistics.all.arrival;
                        place.require(all.total >= charged.total && all.count == 1, "each wait is in `all` once");
                      }),
            "");
}

INSTANTIATE_TEST_SUITE_P(Stages, WaitStatisticsOf, ::testing::Values(Stage::exchange, Stage::write),
                         [](const auto& test) { return std::string(name(test.param)); });

// A world with RAILYARD_TRACE, and what is in the file afterwards.
class Traced : public ::testing::Test {
 protected:
  Traced() : path_(std::filesystem::temp_directory_path() / ("railyard_world_" + std::to_string(::getpid()))) {
    ::setenv("RAILYARD_TRACE", path_.c_str(), 1);
  }
  ~Traced() override {
    ::unsetenv("RAILYARD_TRACE");
    std::filesystem::remove(path_);
  }

  [[nodiscard]] std::vector<json> events(const std::string& phase) const {
    std::vector<json> found;
    const json document = json::parse(std::ifstream(path_));
    for (const json& event : document.at("traceEvents")) {
      if (event.at("ph") == phase) found.push_back(event);
    }
    return found;
  }

  const std::filesystem::path path_;
};

// Events of a row follow one another, or one holds the other; none ends before it begins. Times are compared in
// nanoseconds: they have three decimals.
void expect_rows_in_order(const std::vector<json>& events) {
  using Span = std::pair<std::int64_t, std::int64_t>;
  std::map<std::pair<int, int>, std::vector<Span>> rows;
  const auto ns = [](const json& value) { return std::llround(value.get<double>() * 1000); };
  for (const json& event : events) {
    ASSERT_GE(event.at("dur").get<double>(), 0) << event;
    const std::int64_t begin = ns(event.at("ts"));
    rows[{event.at("pid"), event.at("tid")}].emplace_back(begin, -(begin + ns(event.at("dur"))));
  }
  for (auto& [row, spans] : rows) {
    std::sort(spans.begin(), spans.end());  // the longer first
    std::vector<std::int64_t> open_until;
    for (const auto& [begin, minus_end] : spans) {
      while (!open_until.empty() && open_until.back() <= begin) open_until.pop_back();
      if (!open_until.empty()) {
        EXPECT_LE(-minus_end, open_until.back()) << row.first << "," << row.second;
      }
      open_until.push_back(-minus_end);
    }
  }
}

TEST_F(Traced, EveryRankShowsItsStagesInOrder) {
  for (const Mode mode : {Mode::throughput, Mode::low_latency}) {
    const Scenario scenario = plain_scenario({.ranks = kRanks}, mode);
    const PlainRound plain = plain_round(scenario, 71, Layout::rank_major);
    std::array<std::uint64_t, kRanks> wire_bytes{};
    EXPECT_EQ(run_ranks(kRanks,
                        [&](Rank& rank, const Place& place) {
                          Group group(rank, scenario.options);
                          for (int i = 0; i < 3; ++i) round_trip(place, group, scenario, plain, rank.device());
                          wire_bytes[static_cast<std::size_t>(rank.index())] = group.statistics().wire_bytes;
                        }),
              "");
    const std::vector<json> spans = events("X");
    expect_rows_in_order(spans);
    for (int rank = 0; rank < kRanks; ++rank) {
      std::map<std::string, int> parts;
      std::uint64_t bytes = 0;
      for (const json& event : spans) {
        if (event.at("pid") != rank || event.at("cat") == "wait") continue;
        ++parts[event.at("cat").get<std::string>() + " " + event.at("name").get<std::string>()];
        if (event.at("cat") == "send" || event.at("cat") == "receive") bytes += event.at("args").value("bytes", 0U);
      }
      const int halves = mode == Mode::low_latency ? 6 : 3;  // of an exchange: the send part's and the receive part's
      std::map<std::string, int> wanted{{"send dispatch", 3},          {"receive dispatch", 3}, {"slot dispatch", 3},
                                        {"exchange dispatch", halves}, {"write dispatch", 3},   {"arrival dispatch", 3},
                                        {"send combine", 3},           {"receive combine", 3},  {"slot combine", 3},
                                        {"exchange combine", 6},       {"pull combine", 3},     {"readers combine", 3}};
      if (mode == Mode::low_latency) wanted["place dispatch"] = 3;
      EXPECT_EQ(parts, wanted) << rank;
      EXPECT_EQ(bytes, wire_bytes[static_cast<std::size_t>(rank)]) << rank;
    }
    EXPECT_TRUE(events("i").empty());
  }
}

TEST_F(Traced, ATimeoutIsAnEventOfWhoeverWaited) {
  Scenario scenario = plain_scenario({.ranks = kRanks}, Mode::throughput);
  scenario.options.timeout = 200ms;
  const PlainRound plain = plain_round(scenario, 72, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        if (rank.index() != kLate) {
                          expect_error(place, ErrorCode::timeout, {}, [&] {
                            static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                          });
                        }
                        rank.barrier();
                      }),
            "");
  const std::vector<json> failures = events("i");
  ASSERT_EQ(failures.size(), 2U);
  for (const json& failure : failures) {
    EXPECT_NE(failure.at("pid"), kLate);
    EXPECT_EQ(failure.at("name"), "RY-TIMEOUT");
    EXPECT_NE(failure.at("args").at("message").get<std::string>().find("stage exchange"), std::string::npos);
  }
  const std::vector<json> spans = events("X");
  expect_rows_in_order(spans);
  EXPECT_EQ(std::count_if(
                spans.begin(), spans.end(),
                [](const json& event) { return event.at("name") == "wait for rank 2" && event.at("dur") > 199'000.0; }),
            2);
}

TEST_F(Traced, AWorldThatFailsLeavesACompleteFile) {
  Scenario scenario = plain_scenario({.ranks = kRanks}, Mode::throughput);
  std::atomic<int> exchanges{0};
  TestHooks hooks;
  hooks.at_stage = [&](Stage stage) {
    if (stage == Stage::exchange && this_rank != kLate) ++exchanges;
  };
  scenario.options.testing = &hooks;
  const PlainRound plain = plain_round(scenario, 73, Layout::expert_slots);
  EXPECT_NE(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        this_rank = rank.index();
                        Group group(rank, scenario.options);
                        round_trip(place, group, scenario, plain, rank.device());
                        if (rank.index() == kLate) {  // the others are in their second dispatch
                          while (exchanges < 3 * (kRanks - 1)) std::this_thread::yield();
                          throw std::runtime_error("it left \"in the middle\"");
                        }
                        round_trip(place, group, scenario, plain, rank.device());
                      }),
            "");
  expect_rows_in_order(events("X"));
  const std::vector<json> failures = events("i");
  ASSERT_EQ(failures.size(), 2U);
  for (const json& failure : failures) {
    EXPECT_EQ(failure.at("name"), "RY-ABORTED");
    EXPECT_NE(failure.at("args").at("message").get<std::string>().find("\"in the middle\""), std::string::npos);
  }
}

TEST_F(Traced, AFileThatCannotBeWrittenIsFoundBeforeAnyRankRuns) {
  ::setenv("RAILYARD_TRACE", "/no/such/folder/trace.json", 1);
  Report report;
  expect_error({&report, "world"}, ErrorCode::environment, {"RAILYARD_TRACE", "/no/such/folder/trace.json", "errno 2"},
               [] { static_cast<void>(World::threads(2)); });
  EXPECT_EQ(report.text(), "");
}

}  // namespace
}  // namespace railyard::multi_rank
