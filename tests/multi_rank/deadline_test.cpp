// SPDX-License-Identifier: Apache-2.0
// A rank that never calls, or leaves in the middle: every other gets an error in time, and the process goes on.
#include "api/test_hooks.hpp"
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kDeadline{400};
constexpr std::chrono::milliseconds kSlack{8000};  // an oversubscribed machine under a sanitizer
constexpr int kAbsent = 2;

class Deadline : public ::testing::TestWithParam<Mode> {
 protected:
  Scenario scenario_ = plain_scenario({.ranks = 4}, GetParam());
  PlainRound plain_ = plain_round(scenario_, 5, Layout::expert_major);
};

/// `call` throws RY-TIMEOUT after kDeadline, naming `parts`. What came before had the deadline of the case.
void expect_timeout(const Place& place, Group& group, const std::vector<std::string>& parts,
                    const std::function<void()>& call) {
  group.set_timeout(kDeadline);
  const Clock::time_point start = Clock::now();
  expect_error(place, ErrorCode::timeout, parts, call);
  const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
  place.require(waited >= kDeadline, "gave up after " + std::to_string(waited.count()) + " ms, before the deadline");
  place.require(waited < kDeadline + kSlack, "waited " + std::to_string(waited.count()) + " ms");
}

TEST_P(Deadline, ARankThatNeverDispatches) {
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& place) {
                        {
                          Group group(rank, scenario_.options);
                          round_trip(place.at("before"), group, scenario_, plain_, rank.device());
                          if (rank.index() != kAbsent) {
                            const PlainInput input(rank.device(), plain_, rank.index());
                            const auto dispatch = [&] {
                              static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                            };
                            expect_timeout(
                                place, group,
                                {"dispatch", "epoch 2", "2", GetParam() == Mode::throughput ? "exchange" : ""},
                                dispatch);
                            expect_error(place, ErrorCode::suspended, {}, dispatch);
                            expect_error(place, ErrorCode::suspended, {}, [&] {
                              static_cast<void>(group.route(input.ids.view, {.layout = Layout::expert_major}));
                            });
                          }
                        }
                        rank.barrier();
                        Group group(rank, scenario_.options);
                        round_trip(place.at("new group"), group, scenario_, plain_, rank.device());
                      }),
            "");
}

// Ranks have a mailbox for each operation under way; what the missing one has done is in another than the one waited
// for.
TEST_P(Deadline, ARankThatNeverGoesOnIsSaidWithItsLatest) {
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& place) {
                        if (rank.device().kind != DeviceKind::host) return;
                        GroupOptions options = scenario_.options;
                        options.max_in_flight = 3;
                        Group group(rank, options);
                        for (int i = 0; i < 4; ++i) round_trip(place, group, scenario_, plain_, rank.device());
                        if (rank.index() == kAbsent) return;
                        const PlainInput input(rank.device(), plain_, rank.index());
                        expect_timeout(
                            place, group, {"route, stage exchange, epoch 5", "rank 2 (expected 5, seen 4)"},
                            [&] { static_cast<void>(group.route(input.ids.view, {.layout = Layout::expert_major})); });
                      }),
            "");
}

TEST_P(Deadline, ARankThatNeverCombines) {
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& place) {
                        {
                          Group group(rank, scenario_.options);
                          const PlainInput input(rank.device(), plain_, rank.index());
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                          const std::vector<std::byte> before = download(got.rows);
                          if (rank.index() != kAbsent) {
                            const Buffer out(rank.device(), std::size_t{6 * 24 * 2});
                            const TensorView view(out.data(), DType::bf16, {6, 24}, rank.device());
                            const auto combine = [&] { static_cast<void>(group.combine(got.rows, got.route, view)); };
                            expect_timeout(place, group, {"combine", "2"}, combine);
                            expect_error(place, ErrorCode::suspended, {}, combine);
                            place.require(download(got.rows) == before, "a lease of a suspended group stays readable");
                          }
                        }
                        rank.barrier();
                        Group group(rank, scenario_.options);
                        round_trip(place.at("new group"), group, scenario_, plain_, rank.device());
                      }),
            "");
}

TEST_P(Deadline, ARankThatNeverRoutes) {
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        if (rank.index() != kAbsent) {
                          const PlainInput input(rank.device(), plain_, rank.index());
                          expect_timeout(place, group, {"route", "exchange", "2"}, [&] {
                            static_cast<void>(group.route(input.ids.view, {.layout = Layout::expert_major}));
                          });
                        }
                      }),
            "");
}

TEST_P(Deadline, ATenthOfItWarnsAndNamesTheMissing) {
  std::mutex mutex;
  std::string warnings;
  WorldOptions options;
  options.log = [&](LogLevel level, std::string_view line) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (level == LogLevel::warn) {
      warnings += std::string(line) + "\n";
    }
  };
  EXPECT_EQ(run_ranks(
                4,
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario_.options);
                  if (rank.index() != kAbsent) {
                    const PlainInput input(rank.device(), plain_, rank.index());
                    expect_timeout(place, group, {}, [&] {
                      static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
                    });
                  }
                },
                options),
            "");
  EXPECT_NE(warnings.find("2"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find("dispatch"), std::string::npos) << warnings;
}

TEST_P(Deadline, ARankThatLeavesAtAnyStage) {
  for (const transports::Stage stage :
       {transports::Stage::slot, transports::Stage::exchange, transports::Stage::write, transports::Stage::arrival,
        transports::Stage::place, transports::Stage::pull, transports::Stage::readers}) {
    thread_local bool leaves = false;
    TestHooks hooks;
    hooks.at_stage = [&](transports::Stage at) {
      if (leaves && at == stage) {
        throw std::runtime_error("left");
      }
    };
    EXPECT_EQ(
        run_ranks(4,
                  [&](Rank& rank, const Place& outer) {
                    const Place place = outer.at("stage " + std::string(transports::name(stage)));
                    {
                      GroupOptions options = scenario_.options;
                      options.timeout = std::chrono::seconds(1);
                      options.testing = &hooks;
                      Group group(rank, options);
                      leaves = rank.index() == kAbsent;
                      // Until the missing rank is needed, results are right; then it is named.
                      try {
                        for (int i = 0; i < 2 * options.max_in_flight + 2; ++i) {
                          round_trip(place, group, scenario_, plain_, rank.device());
                        }
                        place.require(stage == (GetParam() == Mode::throughput ? transports::Stage::place
                                                                               : transports::Stage::write) ||
                                          rank.index() != kAbsent,
                                      "the stage was never entered");
                      } catch (const Error& error) {
                        place.require(rank.index() != kAbsent && error.code() == ErrorCode::timeout, error.what());
                      } catch (const std::runtime_error& error) {
                        place.require(rank.index() == kAbsent && std::string(error.what()) == "left", error.what());
                      }
                      leaves = false;
                      rank.barrier();
                    }
                    Group group(rank, scenario_.options);
                    round_trip(place.at("new group"), group, scenario_, plain_, rank.device());
                  }),
        "");
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Deadline, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
