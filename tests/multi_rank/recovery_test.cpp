// SPDX-License-Identifier: Apache-2.0
// Ranks that are lost, and the others that go on: results are the reference's without the lost ranks' part.
//   RAILYARD_TEST_SEED   the first random case
//   RAILYARD_TEST_CASES  how many
#include "api/test_hooks.hpp"
#include "bootstrap/assembly.hpp"
#include "multi_rank/plain.hpp"
#include "multi_rank/random.hpp"
#include "multi_rank/shared_count.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace railyard::multi_rank {
namespace {

using transports::Stage;
using namespace std::chrono_literals;
using Ranks = std::vector<int>;

/// Whether the error says that this rank is missing, also where another rank has noticed and calls.
bool names(const Error& error, int rank) {
  return std::string(error.what()).find("rank " + std::to_string(rank)) != std::string::npos;
}

// In which whoever goes on must come: nobody knows that a thread stays away.
#if defined(RAILYARD_SANITIZED)
constexpr auto kRollCall = 3s;
constexpr std::uint64_t kThreadCases = 3;
#else
constexpr auto kRollCall = 1s;
constexpr std::uint64_t kThreadCases = 5;
#endif

bool contains(const Ranks& ranks, int rank) { return std::ranges::find(ranks, rank) != ranks.end(); }

bool in_processes() { return backend().name().ends_with("-processes"); }
bool on_gpus() { return backend().device_kind() == DeviceKind::cuda; }
/// Groups on GPUs have one so far.
Layout layout(Layout wanted) { return on_gpus() ? Layout::rank_major : wanted; }

Dispatched dispatch(Group& group, const PlainInput& input, const Rank& rank) {
  return group.dispatch(input.x.view, input.ids.view, input.options, backend().stream(rank.device()));
}

/// Ends a process without a word; a thread has to stay away.
void vanish() {
  if (in_processes()) ::_exit(0);
}

/// Recovers, and looks who is masked now.
Recovery go_on(const Place& place, Group& group, const Ranks& masked, std::chrono::seconds roll_call = kRollCall) {
  group.set_timeout(roll_call);
  const Recovery recovery = group.recover();
  group.set_timeout(case_deadline());
  place.require(recovery.masked == masked, "other ranks are masked than were lost");
  place.require(group.masked_ranks() == masked, "masked_ranks() says something else");
  place.require(!group.is_suspended(), "suspended after a recovery");
  return recovery;
}

/// Calls until one fails, because a rank is lost.
Error call_until_lost(const Place& place, const std::function<void()>& call) {
  try {
    for (int repeat = 0; repeat < 100; ++repeat) call();
  } catch (const Error& error) {
    place.require(error.code() == ErrorCode::timeout || error.code() == ErrorCode::aborted ||
                      error.code() == ErrorCode::suspended,
                  std::string("another error: ") + error.what());
    return error;
  }
  place.fail("nothing was noticed");
  return {ErrorCode::ok, ""};
}

/// Some ranks, so that the others are a majority. A process of rank 0 that has gone takes the world with it.
Ranks choose_lost(Random& random, int ranks) {
  Ranks lost;
  for (int rank = in_processes() ? 1 : 0; rank < ranks; ++rank) {
    const auto left = static_cast<std::size_t>(ranks) - lost.size() - 1;
    const bool lowest_stays = !lost.empty() ? lost.front() != 0 : rank != 0;
    if (random.chance(40) && bootstrap::is_majority(left, static_cast<std::size_t>(ranks), lowest_stays)) {
      lost.push_back(rank);
    }
  }
  return lost;
}

TEST(Recovery, RandomCasesAreTheReferenceWithoutTheLost) {
  std::uint64_t seed = from_environment("RAILYARD_TEST_SEED", 20261122);
  std::uint64_t cases = from_environment("RAILYARD_TEST_CASES", in_processes() ? 60 : kThreadCases);
  for (; cases > 0; ++seed) {
    const Scenario scenario = make_scenario(seed, {.mode = {}, .max_ranks = 6, .max_rounds = 2});
    Random random(seed);
    const Ranks lost = choose_lost(random, scenario.ranks());
    if (lost.empty()) continue;
    --cases;
    Scenario left = scenario;
    for (Round& round : left.rounds) round = without_ranks(scenario, round, lost);
    const std::vector<ExpectedRound> before = expect(scenario);
    const std::vector<ExpectedRound> after = expect(left);
    Report report;
    WorldOptions options;
    options.timeout = case_deadline();
    backend().run(
        scenario.ranks(), options,
        [&](Rank& rank) {
          CaseRun run{&scenario, &before, &report};
          RankRun here(run, rank);
          here.run();
          rank.barrier();
          if (contains(lost, rank.index())) return vanish();
          static_cast<void>(go_on({&report, "rank " + std::to_string(rank.index())}, here.group(), lost));
          here.expect(after);
          here.run();
        },
        report);
    ASSERT_EQ(report.text(), "") << scenario.describe() << "; lost " << ::testing::PrintToString(lost)
                                 << ", repeat with RAILYARD_TEST_SEED=" << seed << " RAILYARD_TEST_CASES=1";
  }
}

class Recoveries : public ::testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    if (on_gpus() && GetParam() == Mode::low_latency) GTEST_SKIP() << "not yet on GPUs";
  }

  Scenario scenario_ = plain_scenario({.ranks = 5}, GetParam());
  PlainRound plain_ = plain_round(scenario_, 5, layout(Layout::expert_major));

  [[nodiscard]] PlainRound without(const Ranks& masked) const { return without_ranks(scenario_, plain_, masked); }
};

TEST_P(Recoveries, TwoRanksOneAfterTheOther) {
  const PlainRound without_3 = without({3});
  const PlainRound without_1_3 = without({1, 3});
  EXPECT_EQ(run_ranks(5,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        round_trip(place.at("all"), group, scenario_, plain_, rank.device());
                        rank.barrier();
                        if (rank.index() == 3) return vanish();
                        const Recovery first = go_on(place, group, {3});
                        place.equal(std::uint64_t{1}, first.dispatches, "dispatches that all had finished");
                        place.equal(std::uint64_t{1}, first.combines, "combines that all had finished");
                        const auto round = [&] { round_trip(place, group, scenario_, without_3, rank.device()); };
                        if (rank.index() == 1) {
                          for (int repeat = 0; repeat < 3; ++repeat) round();
                          return vanish();
                        }
                        group.set_timeout(500ms);
                        static_cast<void>(call_until_lost(place, round));
                        const Recovery second = go_on(place, group, {1, 3});
                        place.equal(std::uint64_t{4}, second.dispatches, "dispatches before the second");
                        place.require(second.combines == 3 || second.combines == 4, "combines before the second");
                        for (int repeat = 0; repeat < 3; ++repeat) {
                          round_trip(place.at("without 1 and 3"), group, scenario_, without_1_3, rank.device());
                        }
                      }),
            "");
}

TEST_P(Recoveries, FewerThanHalfMayNotGoOn) {
  scenario_ = plain_scenario({.ranks = 4}, GetParam());
  plain_ = plain_round(scenario_, 6, Layout::rank_major);
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        rank.barrier();
                        if (rank.index() >= 2) {  // half of them, without the lowest
                          group.set_timeout(300ms);
                          expect_error(place, ErrorCode::no_majority, {"recover", "ranks 0, 1"},
                                       [&] { static_cast<void>(group.recover()); });
                          place.require(group.is_suspended(), "it goes on all the same");
                          expect_error(place, ErrorCode::suspended, {"RY-NO-MAJORITY"},
                                       [&] { static_cast<void>(group.allocate({8}, DType::bf16)); });
                        }
                        rank.barrier();
                        // Nobody was lost: all go on.
                        static_cast<void>(go_on(place, group, {}));
                        round_trip(place, group, scenario_, plain_, rank.device());
                      }),
            "");
}

TEST_P(Recoveries, WhatWasMadeBeforeIsReadableAndRefused) {
  const PlainRound left = without({2});
  SharedCount gone_on;
  EXPECT_EQ(
      run_ranks(
          5,
          [&](Rank& rank, const Place& place) {
            GroupOptions options = scenario_.options;
            options.heap_limit_bytes = 3 * options.heap_bytes;
            Group group(rank, options);
            group.grow_heap(4096);
            const PlainInput input(rank.device(), plain_, rank.index());
            const Dispatched old = dispatch(group, input, rank);
            const Tensor old_y = group.allocate({old.rows.size(0), options.hidden}, DType::bf16);
            fill(old_y, std::byte{0x3C});
            PendingDispatch pending = group.dispatch_send(input.x.view, input.ids.view, input.options);
            rank.barrier();
            if (rank.index() == 2) {
              vanish();
              return place.require(gone_on.wait_for(4), "the others do not go on");  // before the send part is dropped
            }
            static_cast<void>(go_on(place, group, {2}));
            gone_on.add();
            place.equal(options.heap_bytes + 4096, group.statistics().heap_bytes, "bytes of the new heap");
            check_plain(place.at("kept"), scenario_, plain_, rank.index(), old);
            expect_error(place, ErrorCode::suspended, {"before the group recovered"},
                         [&] { static_cast<void>(pending.receive()); });
            { const PendingDispatch dropped = std::move(pending); }
            place.require(!group.is_suspended(), "a send part of before suspended the group");
            expect_error(place, ErrorCode::invalid_argument, {"before the group recovered"},
                         [&] { static_cast<void>(group.dispatch(input.x.view, old.route)); });
            const Buffer out(rank.device(), static_cast<std::size_t>(options.max_tokens * options.hidden) * 2);
            const TensorView view(out.data(), DType::bf16, {options.max_tokens, options.hidden}, rank.device());
            expect_error(place, ErrorCode::invalid_argument, {"before the group recovered"},
                         [&] { static_cast<void>(group.combine(old.rows, old.route, view)); });
            // The new heap grows, and outputs in the old one are inputs like others.
            group.grow_heap(8192);
            place.equal(options.heap_bytes + 4096 + 8192, group.statistics().heap_bytes, "bytes of the grown heap");
            expect_error(place, ErrorCode::operation_mismatch, {"grow_heap", "rank 3"},
                         [&] { group.grow_heap(rank.index() == 3 ? 512 : 256); });
            round_trip(place, group, scenario_, left, rank.device());
            const Dispatched got = dispatch(group, input, rank);
            const std::uint64_t copied = group.statistics().bytes_copied;
            static_cast<void>(group.combine(old_y, got.route, view));
            place.require(got.route.num_rows() == 0 || group.statistics().bytes_copied > copied, "was not copied");
            round_trip(place, group, scenario_, left, rank.device());
          }),
      "");
}

TEST_P(Recoveries, ALateRankIsToldAndWhatItWritesHarmsNobody) {
  const PlainRound left = without({1});
  SharedCount gone_on;
  SharedCount written;
  thread_local bool late = false;
  TestHooks hooks;
  hooks.at_stage = [&](Stage at) {
    if (!late || at != Stage::write) return;
    late = false;
    static_cast<void>(gone_on.wait_for(4));
  };
  EXPECT_EQ(run_ranks(5,
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = scenario_.options;
                        options.testing = &hooks;
                        Group group(rank, options);
                        round_trip(place, group, scenario_, plain_, rank.device());
                        const PlainInput input(rank.device(), plain_, rank.index());
                        const Dispatched kept = dispatch(group, input, rank);
                        rank.barrier();
                        group.set_timeout(200ms);
                        late = rank.index() == 1;
                        const Error error =
                            call_until_lost(place, [&] { static_cast<void>(dispatch(group, input, rank)); });
                        if (rank.index() == 1) {
                          written.add();
                          place.require(group.is_suspended(), "the late rank does not know");
                          const std::string others = "ranks 0, 2, 3, 4 have agreed to go on without rank 1";
                          expect_error(place, ErrorCode::masked, {others}, [&] { static_cast<void>(group.recover()); });
                          expect_error(place, ErrorCode::masked, {others},
                                       [&] { static_cast<void>(dispatch(group, input, rank)); });
                          return;
                        }
                        place.require(names(error, 1), error.what());
                        static_cast<void>(go_on(place, group, {1}));
                        gone_on.add();
                        for (int repeat = 0; repeat < 200; ++repeat) {
                          round_trip(place, group, scenario_, left, rank.device());
                          if (repeat == 100) place.require(written.wait_for(1), "the late rank does not write");
                        }
                        check_plain(place.at("kept"), scenario_, plain_, rank.index(), kept);
                      }),
            "");
}

TEST_P(Recoveries, AMaskedRankJoinsAgainWithFreshMemory) {
  const PlainRound without_1 = without({1});
  const PlainRound without_3 = without({3});
  SharedCount gone_on;
  SharedCount asked;
  EXPECT_EQ(
      run_ranks(
          5,
          [&](Rank& rank, const Place& place) {
            Group group(rank, scenario_.options);
            round_trip(place, group, scenario_, plain_, rank.device());
            expect_error(place, ErrorCode::invalid_argument, {"rejoin", "not masked"},
                         [&] { static_cast<void>(group.rejoin()); });
            rank.barrier();
            if (rank.index() == 1) {
              place.require(gone_on.wait_for(4), "the others do not go on");
              expect_error(place, ErrorCode::masked, {}, [&] { static_cast<void>(group.recover()); });
              group.set_timeout(50ms);
              expect_error(place, ErrorCode::timeout, {"rejoin"}, [&] { static_cast<void>(group.rejoin()); });
              expect_error(place, ErrorCode::masked, {}, [&] { static_cast<void>(group.allocate({8}, DType::bf16)); });
              group.set_timeout(case_deadline());
              asked.add();
              const Recovery back = group.rejoin();
              place.require(back.masked.empty() && group.masked_ranks().empty(), "somebody is masked");
            } else {
              static_cast<void>(go_on(place, group, {1}));
              gone_on.add();
              for (int repeat = 0; repeat < 3; ++repeat) {
                round_trip(place.at("without 1"), group, scenario_, without_1, rank.device());
              }
              place.require(asked.wait_for(1), "it does not ask in vain");
              // Until it has come. All see the same ranks.
              for (int attempt = 0; !group.masked_ranks().empty() && attempt < 1000; ++attempt) {
                std::this_thread::sleep_for(20ms);
                try {
                  static_cast<void>(group.recover());
                } catch (const Error& error) {
                  place.require(error.code() == ErrorCode::aborted, error.what());
                }
              }
            }
            place.equal(std::uint64_t{4}, group.last_recovery().combines, "combines of the group");
            const auto round = [&] { round_trip(place.at("all again"), group, scenario_, plain_, rank.device()); };
            if (rank.index() == 3) {  // the one that came back is a rank like others
              for (int repeat = 0; repeat < 3; ++repeat) round();
              return vanish();
            }
            group.set_timeout(500ms);
            static_cast<void>(call_until_lost(place, round));
            static_cast<void>(go_on(place, group, {3}));
            round_trip(place.at("without 3"), group, scenario_, without_3, rank.device());
          }),
      "");
}

TEST_P(Recoveries, AbortEndsARecoveryAndTheNextWorks) {
  scenario_ = plain_scenario({.ranks = 2}, GetParam());
  plain_ = plain_round(scenario_, 6, layout(Layout::expert_slots));
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        rank.barrier();
                        if (rank.index() == 0) {
                          std::thread other([&] {
                            std::this_thread::sleep_for(50ms);
                            group.abort("not now");
                          });
                          expect_error(place, ErrorCode::aborted, {"recover", "not now"},
                                       [&] { static_cast<void>(group.recover()); });
                          other.join();
                          expect_error(place, ErrorCode::suspended, {"not now"},
                                       [&] { static_cast<void>(group.allocate({8}, DType::bf16)); });
                        }
                        rank.barrier();
                        static_cast<void>(go_on(place, group, {}));
                        round_trip(place, group, scenario_, plain_, rank.device());
                        rank.barrier();
                        if (rank.index() == 1) {
                          expect_error(place, ErrorCode::aborted, {"the world ends"},
                                       [&] { static_cast<void>(group.recover()); });
                        } else {
                          std::this_thread::sleep_for(50ms);
                          rank.abort("the world ends");
                        }
                        expect_error(place, ErrorCode::aborted, {"the world ends"},
                                     [&] { static_cast<void>(group.recover()); });
                        place.require(group.is_suspended(), "works in a world that was aborted");
                      }),
            "");
}

TEST_P(Recoveries, PolicyMaskRecoversBeforeTheNextOperation) {
  const PlainRound left = without({4});
  SharedCount done_without;
  scenario_.options.on_timeout = TimeoutPolicy::mask;
  EXPECT_EQ(run_ranks(5,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        round_trip(place, group, scenario_, plain_, rank.device());
                        rank.barrier();
                        group.set_timeout(kRollCall);
                        const PlainInput input(rank.device(), plain_, rank.index());
                        if (rank.index() == 4) {
                          vanish();
                          place.require(done_without.wait_for(4), "the others do not go on");
                          place.require(group.is_suspended(), "nobody has told it");
                          return expect_error(place, ErrorCode::masked, {"go on without rank 4"},
                                              [&] { static_cast<void>(dispatch(group, input, rank)); });
                        }
                        std::uint64_t done = 1;
                        for (int attempt = 0; done < 5 && attempt < 20; ++attempt) {
                          try {
                            round_trip(place, group, scenario_, left, rank.device());
                            ++done;
                          } catch (const Error& error) {
                            // What was finished by some ranks alone is done again by all.
                            if (error.code() == ErrorCode::operation_mismatch) done = group.last_recovery().combines;
                          }
                        }
                        place.equal(std::uint64_t{5}, done, "rounds");
                        place.require(group.masked_ranks() == Ranks{4}, "rank 4 is not masked");
                        done_without.add();
                      }),
            "");
}

// Ranks that had sent different numbers of parts would go on with different ones as the same operation.
TEST_P(Recoveries, PolicyMaskWantsHeldSendPartsDroppedFirst) {
  scenario_.options.on_timeout = TimeoutPolicy::mask;
  EXPECT_EQ(run_ranks(5,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        round_trip(place, group, scenario_, plain_, rank.device());
                        const PlainInput input(rank.device(), plain_, rank.index());
                        {
                          const PendingDispatch held = group.dispatch_send(input.x.view, input.ids.view, input.options);
                          rank.barrier();
                          group.abort("the test says so");
                          expect_error(place, ErrorCode::suspended, {"1 send parts", "drop"},
                                       [&] { static_cast<void>(dispatch(group, input, rank)); });
                        }
                        round_trip(place, group, scenario_, plain_, rank.device());
                        place.require(group.masked_ranks().empty(), "somebody is masked");
                        place.equal(std::uint64_t{1}, group.last_recovery().dispatches, "dispatches of before");
                      }),
            "");
}

TEST_P(Recoveries, PolicyWaitGoesOnPastDeadlines) {
  if (in_processes()) GTEST_SKIP() << "looks into the log of all ranks";
  scenario_ = plain_scenario({.ranks = 3}, GetParam());
  plain_ = plain_round(scenario_, 6, Layout::rank_major);
  scenario_.options.on_timeout = TimeoutPolicy::wait;
  SharedCount warnings;
  WorldOptions options;
  options.log = [&](LogLevel, std::string_view line) {
    if (line.find("rank 0: dispatch") != line.npos && line.find("rank 2 (") != line.npos) warnings.add();
  };
  EXPECT_EQ(run_ranks(
                3,
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario_.options);
                  group.set_timeout(100ms);
                  if (rank.index() == 2) place.require(warnings.wait_for(4), "rank 0 does not warn");
                  round_trip(place, group, scenario_, plain_, rank.device());
                  // Whoever recovers ends the others' waits.
                  group.set_timeout(case_deadline());
                  rank.barrier();
                  if (rank.index() != 2) {
                    const PlainInput input(rank.device(), plain_, rank.index());
                    const Error error =
                        call_until_lost(place, [&] { static_cast<void>(dispatch(group, input, rank)); });
                    place.require(std::string(error.what()).find("calls the group's ranks") != std::string::npos,
                                  error.what());
                  } else {
                    std::this_thread::sleep_for(50ms);
                  }
                  static_cast<void>(go_on(place, group, {}, case_deadline()));
                  round_trip(place, group, scenario_, plain_, rank.device());
                },
                options),
            "");
}

INSTANTIATE_TEST_SUITE_P(Modes, Recoveries, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

class LostAtAStage : public ::testing::TestWithParam<std::tuple<Mode, Stage>> {};

TEST_P(LostAtAStage, TheOthersGoOn) {
  const auto [mode, stage] = GetParam();
  constexpr int kLost = 2;
  const Scenario scenario = plain_scenario({.ranks = 4}, mode);
  const PlainRound plain = plain_round(scenario, 8, Layout::expert_slots);
  const PlainRound left = without_ranks(scenario, plain, {kLost});
  thread_local bool leaves = false;
  TestHooks hooks;
  hooks.at_stage = [&, wanted = stage](Stage at) {
    if (!leaves || at != wanted) return;
    leaves = false;
    vanish();
    throw std::runtime_error("left");
  };
  EXPECT_EQ(run_ranks(4,
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = scenario.options;
                        options.testing = &hooks;
                        Group group(rank, options);
                        round_trip(place, group, scenario, plain, rank.device());
                        rank.barrier();
                        group.set_timeout(200ms);
                        leaves = rank.index() == kLost;
                        try {
                          const Error error =
                              call_until_lost(place, [&] { round_trip(place, group, scenario, plain, rank.device()); });
                          place.require(rank.index() == kLost || names(error, kLost), error.what());
                        } catch (const std::runtime_error& error) {
                          place.require(rank.index() == kLost, error.what());
                          return;
                        }
                        static_cast<void>(go_on(place, group, {kLost}));
                        for (int repeat = 0; repeat < 5; ++repeat) {
                          round_trip(place.at("after"), group, scenario, left, rank.device());
                        }
                      }),
            "");
}

std::vector<std::tuple<Mode, Stage>> stages() {
  std::vector<std::tuple<Mode, Stage>> all;
  for (const Mode mode : {Mode::throughput, Mode::low_latency}) {
    for (const Stage stage :
         {Stage::slot, Stage::exchange, Stage::write, Stage::arrival, Stage::place, Stage::pull, Stage::readers}) {
      if (stage != Stage::place || mode == Mode::low_latency) all.emplace_back(mode, stage);
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Stages, LostAtAStage, ::testing::ValuesIn(stages()), [](const auto& test) {
  return std::string(name(std::get<0>(test.param))) + "_" + std::string(transports::name(std::get<1>(test.param)));
});

TEST(Recovery, RanksMeanTheSamePolicy) {
  const Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = scenario.options;
                        if (rank.index() == 1) options.on_timeout = TimeoutPolicy::mask;
                        expect_error(place, ErrorCode::config_mismatch, {"on_timeout", "error", "mask"},
                                     [&] { const Group group(rank, options); });
                      }),
            "");
}

}  // namespace
}  // namespace railyard::multi_rank
