// SPDX-License-Identifier: Apache-2.0
// Faults of a process in the middle of a job: the others get one clear error in time, what they had before is right,
// those that may go on do, with the right results, and nothing hangs.
//   RAILYARD_TEST_SEED   the first fault's seed; without it, a random one, printed
//   RAILYARD_TEST_CASES  how many faults
#include "multi_rank/chaos.hpp"
#include "api/test_hooks.hpp"
#include "multi_rank/backend.hpp"
#include "multi_rank/left_behind.hpp"
#include "multi_rank/plain.hpp"
#include "multi_rank/process_shared.hpp"
#include "multi_rank/process_world.hpp"
#include "multi_rank/random.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

using transports::Stage;
using namespace std::chrono_literals;

// Sanitizers, and machines with more to do than cores, are slow. Only a process that stands still is noticed by the
// deadline; all else must be told long before it.
constexpr auto kDeadline = 3s;
constexpr auto kPatience = 60s;
constexpr auto kSlack = 20s;
constexpr auto kRollCall = 2s;  // of survivors who know that one of them is missing
#if defined(RAILYARD_SANITIZED)
constexpr std::uint64_t kCases = 24;
#else
constexpr std::uint64_t kCases = 100;
#endif

constexpr std::array kStages{Stage::slot,  Stage::exchange, Stage::write,  Stage::arrival,
                             Stage::place, Stage::pull,     Stage::readers};

struct Case : FaultPlan {
  explicit Case(std::uint64_t seed) : random(seed) {
    ranks = 2 + static_cast<int>(random.below(4));
    victim = static_cast<int>(random.below(ranks));
    fault = random.one_of({Fault::killed, Fault::killed, Fault::killed, Fault::exits, Fault::exits, Fault::throws,
                           Fault::throws, Fault::stopped, Fault::other_config, Fault::wrong_ids, Fault::no_rendezvous});
    stage = kStages[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(kStages.size())))];
    before = static_cast<int>(random.below(4));
    mode = random.chance(50) ? Mode::throughput : Mode::low_latency;
    if (mode == Mode::throughput && stage == Stage::place) stage = Stage::pull;  // it is not entered
    layout = static_cast<Layout>(random.below(3));
    if (random.chance(40) || fault == Fault::no_rendezvous) meeting = ProcessWorld::Meeting::external;
    text = "seed " + std::to_string(seed) + ": " + std::to_string(ranks) + " ranks, rank " + std::to_string(victim) +
           " " + kFaultNames[static_cast<std::size_t>(fault)] + " after " + std::to_string(before) +
           " rounds at stage " + std::string(name(stage)) + ", " + std::string(railyard::name(mode)) + ", " +
           std::string(railyard::name(layout)) + (meeting == ProcessWorld::Meeting::external ? ", met elsewhere" : "");
  }

  Random random;
  Stage stage;
  int before;  // rounds without the fault
  Mode mode;
  Layout layout;
  std::string text;
};

/// How long the slowest survivor of each kind of fault waited for its error.
struct Waits {
  std::array<std::int64_t, kFaultNames.size()> faults{};
  std::array<std::chrono::nanoseconds, kFaultNames.size()> slowest{};
  std::array<std::int64_t, kFaultNames.size()> recoveries{};
  std::array<std::chrono::nanoseconds, kFaultNames.size()> recovered{};

  void add(const Case& chaos, const FaultTimes& shared) {
    const auto index = static_cast<std::size_t>(chaos.fault);
    ++faults[index];
    slowest[index] = std::max(slowest[index], std::chrono::nanoseconds(shared.slowest_ns.load()));
    recoveries[index] += chaos.others_go_on() ? 1 : 0;
    recovered[index] = std::max(recovered[index], std::chrono::nanoseconds(shared.recovered_ns.load()));
  }
  void print() const {
    for (std::size_t index = 0; index < kFaultNames.size(); ++index) {
      std::printf("%-13s %3lld faults, slowest survivor told after %.1f ms; %3lld recoveries, the slowest by %.1f ms\n",
                  kFaultNames[index], static_cast<long long>(faults[index]),
                  1e-6 * static_cast<double>(slowest[index].count()), static_cast<long long>(recoveries[index]),
                  1e-6 * static_cast<double>(recovered[index].count()));
    }
  }
};

[[noreturn]] void leave_mid_operation() { throw std::runtime_error("a bug"); }

void commit(Fault fault, FaultTimes& shared) {
  shared.fault_ns.store(FaultTimes::now_ns());
  switch (fault) {
    case Fault::killed:
      ::raise(SIGKILL);
      break;
    case Fault::stopped:
      ::raise(SIGSTOP);
      break;
    case Fault::exits:
      ::_exit(0);
    case Fault::throws:
      leave_mid_operation();
    case Fault::no_rendezvous:
      shared.end_rendezvous();
      break;
    case Fault::other_config:
    case Fault::wrong_ids:
      break;
  }
}

GroupOptions options_of(const Case& chaos, const Scenario& scenario, const TestHooks& hooks, bool is_victim) {
  GroupOptions options = scenario.options;
  options.testing = &hooks;
  if (is_victim && chaos.fault == Fault::other_config) options.max_top_k += 1;
  return options;
}

/// One rank's part of a case.
class ChaosRank {
 public:
  ChaosRank(Rank& rank, const Case& chaos, const Scenario& scenario, FaultTimes& shared, const Place& place)
      : rank_(rank), chaos_(chaos), scenario_(scenario), shared_(shared), place_(place) {}

  void run(const PlainRound& plain, const PlainRound& left);

 private:
  void run_until_lost(Group& group, const PlainRound& plain);
  void check_told(const Error& error) const;
  void go_on(Group& group, const PlainRound& left);
  void expect_no_world(Group& group);
  [[nodiscard]] bool may_go_unnoticed(int round) const;
  /// Whether the fault is this rank's.
  [[nodiscard]] bool is_victim() const { return rank_.index() == chaos_.victim; }
  [[nodiscard]] bool is_survivor() const { return !is_victim() || chaos_.fault == Fault::no_rendezvous; }

  Rank& rank_;
  const Case& chaos_;
  const Scenario& scenario_;
  FaultTimes& shared_;
  const Place& place_;
  bool armed_ = false;
};

void ChaosRank::run(const PlainRound& plain, const PlainRound& left) {
  TestHooks hooks;
  hooks.at_stage = [&](Stage at) {
    if (!armed_ || at != chaos_.stage) return;
    armed_ = false;
    commit(chaos_.fault, shared_);
  };
  if (chaos_.fault == Fault::other_config) shared_.fault_ns.store(FaultTimes::now_ns());
  try {
    Group group(rank_, options_of(chaos_, scenario_, hooks, is_victim()));
    try {
      run_until_lost(group, plain);
      return;
    } catch (const Error& error) {
      check_told(error);
    }
    if (chaos_.others_go_on()) go_on(group, left);
    if (chaos_.fault == Fault::no_rendezvous) expect_no_world(group);
  } catch (const Error& error) {
    check_told(error);
  }
}

void ChaosRank::run_until_lost(Group& group, const PlainRound& plain) {
  for (int round = 0; round < chaos_.before; ++round) round_trip(place_, group, scenario_, plain, rank_.device());
  if (chaos_.fault == Fault::wrong_ids) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(scenario_.options.max_top_k), 0);
    if (is_victim()) ids.front() = scenario_.options.num_experts + 7;
    const Route route = group.route(ConstTensorView(ids.data(), DType::int32, {1, scenario_.options.max_top_k}));
    place_.require(route.status().code == ErrorCode::invalid_id && route.status().rank == chaos_.victim,
                   "ids beyond the experts are no status that names the rank");
  }
  if (chaos_.fault == Fault::stopped) group.set_timeout(kDeadline);
  armed_ = is_victim();
  // Until the victim is needed, results are right; then it is named.
  for (int round = 0; may_go_unnoticed(round); ++round) round_trip(place_, group, scenario_, plain, rank_.device());
  place_.require(chaos_.fault == Fault::wrong_ids || !is_survivor(), "nothing was noticed");
}

/// Operations need no rendezvous: they end when the rank hears that it has gone.
bool ChaosRank::may_go_unnoticed(int round) const {
  if (chaos_.fault != Fault::no_rendezvous) return round < 6;
  const std::int64_t fault_ns = shared_.fault_ns.load();
  return fault_ns == 0 || std::chrono::nanoseconds(FaultTimes::now_ns() - fault_ns) < kSlack;
}

void ChaosRank::check_told(const Error& error) const {
  if (!is_survivor()) return;
  const auto late = std::chrono::nanoseconds(FaultTimes::now_ns() - shared_.fault_ns.load());
  FaultTimes::raise_to(shared_.slowest_ns, late.count());
  place_.require(chaos_.is_clear(error), std::string("unclear: ") + error.what());
  place_.require(
      late < (chaos_.fault == Fault::stopped ? kDeadline + kSlack : kSlack),
      "told after " + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(late).count()) + " ms");
}

void ChaosRank::go_on(Group& group, const PlainRound& left) {
  if (is_victim()) return expect_left_behind(place_, group);  // it was stopped
  if (chaos_.fault == Fault::stopped) group.set_timeout(kRollCall);
  const Recovery recovery = group.recover();
  FaultTimes::raise_to(shared_.recovered_ns, FaultTimes::now_ns() - shared_.fault_ns.load());
  place_.require(recovery.masked == std::vector<int>{chaos_.victim}, "other ranks are masked than the victim");
  group.set_timeout(kPatience);
  for (int round = 0; round < 3; ++round) {
    round_trip(place_.at("recovered"), group, scenario_, left, rank_.device());
  }
}

/// Nobody can agree any more who goes on.
void ChaosRank::expect_no_world(Group& group) {
  expect_error(place_, ErrorCode::aborted, {kNoRendezvous}, [&] { static_cast<void>(group.recover()); });
  expect_error(place_, ErrorCode::aborted, {kNoRendezvous}, [&] { rank_.barrier(); });
}

std::string run_case(const Case& chaos, Waits& waits) {
  const Scenario scenario = plain_scenario({.ranks = chaos.ranks}, chaos.mode);
  const PlainRound plain = plain_round(scenario, 7, chaos.layout);
  const PlainRound left = without_ranks(scenario, plain, {chaos.victim});
  const ProcessShared<FaultTimes> shared;
  Report report;
  const WorldOptions options{.timeout = kPatience, .log_level = LogLevel::off};
  const auto body = [&](Rank& rank) {
    const Place place{&report, "rank " + std::to_string(rank.index())};
    ChaosRank(rank, chaos, scenario, *shared, place).run(plain, left);
  };
  ProcessWorld world(chaos.ranks, options, body, report, {}, chaos.meeting);
  shared->rendezvous.store(world.rendezvous());
  if (chaos.fault == Fault::no_rendezvous) {
    for (int rank = 0; rank < chaos.ranks; ++rank) world.require_success(rank, report);
  } else {
    world.finish_with_victim(chaos.victim, chaos.fault == Fault::killed ? SIGKILL : 0, report);
  }
  waits.add(chaos, *shared);
  return report.ok() ? "" : chaos.text + report.text();
}

TEST(Chaos, SurvivorsAreToldInTimeAndWhatTheyHadIsRight) {
  const std::uint64_t first = from_environment("RAILYARD_TEST_SEED", std::random_device{}());
  const std::uint64_t cases = from_environment("RAILYARD_TEST_CASES", kCases);
  std::printf("seeds from %llu, %llu faults\n", static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(cases));
  Waits waits;
  for (std::uint64_t seed = first; seed < first + cases; ++seed) ASSERT_EQ(run_case(Case(seed), waits), "");
  std::printf("deadline of the stopped: %lld s\n", static_cast<long long>(kDeadline.count()));
  waits.print();
}

}  // namespace
}  // namespace railyard::multi_rank
