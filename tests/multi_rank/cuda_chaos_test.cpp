// SPDX-License-Identifier: Apache-2.0
// Faults of a process whose rank is on a GPU, at any moment of its operations: the others get one clear error in time,
// what they had before is right, their contexts live, those that may go on do, with the right results, and nothing
// hangs.
//   RAILYARD_TEST_SEED   the first fault's seed; without it, a random one, printed
//   RAILYARD_TEST_CASES  how many faults
#include "multi_rank/backend.hpp"
#include "multi_rank/chaos.hpp"
#include "multi_rank/left_behind.hpp"
#include "multi_rank/plain.hpp"
#include "multi_rank/process_shared.hpp"
#include "multi_rank/process_world.hpp"
#include "multi_rank/random.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kDeadline = 1s;   // where a process stands still: nothing else tells
constexpr auto kPatience = 60s;  // of all other waits
constexpr auto kSlack = 5s;
constexpr auto kRollCall = 2s;  // of survivors who know that one of them is missing
constexpr int kRounds = 2000;   // long before the last the fault has come

struct Case : FaultPlan {
  explicit Case(std::uint64_t seed) : random(seed) {
    ranks = 2 + static_cast<int>(random.below(backend().max_ranks()));  // two may share a GPU
    victim = static_cast<int>(random.below(ranks));
    fault = random.one_of({Fault::killed, Fault::killed, Fault::killed, Fault::exits, Fault::throws, Fault::stopped,
                           Fault::other_config, Fault::wrong_ids, Fault::no_rendezvous});
    after = std::chrono::microseconds(random.below(3000));
    if (random.chance(40) || fault == Fault::no_rendezvous) meeting = ProcessWorld::Meeting::external;
    text = "seed " + std::to_string(seed) + ": " + std::to_string(ranks) + " ranks, rank " + std::to_string(victim) +
           " " + kFaultNames[static_cast<std::size_t>(fault)] + " " + std::to_string(after.count()) +
           " us after the first round" + (meeting == ProcessWorld::Meeting::external ? ", met elsewhere" : "");
  }

  Random random;
  std::chrono::microseconds after;
  std::string text;
};

/// And how long it took the last survivor to destroy its group.
struct Shared : FaultTimes {
  std::atomic<std::int64_t> destroyed_ns{0};
};

/// Of one kind of fault, over all cases.
struct Outcome {
  int faults = 0;
  int recoveries = 0;
  std::int64_t slowest_ns = 0;
  std::int64_t recovered_ns = 0;
  std::int64_t destroyed_ns = 0;
};
using Outcomes = std::array<Outcome, kFaultNames.size()>;

/// A group whose dead ranks keep nobody who destroys it.
class ChaosGroup {
 public:
  ChaosGroup(Rank& rank, const GroupOptions& options, const Case& chaos, Shared& shared, const Place& place)
      : group_(std::in_place, rank, options), survives_(chaos.survives(rank.index())), shared_(shared), place_(place) {}
  ~ChaosGroup() {
    const std::int64_t start = Shared::now_ns();
    group_.reset();
    const std::int64_t took = Shared::now_ns() - start;
    if (!survives_) return;
    Shared::raise_to(shared_.destroyed_ns, took);
    place_.require(std::chrono::nanoseconds(took) < kDeadline + 1s,
                   "its group was destroyed in " + std::to_string(took / 1'000'000) + " ms");
  }
  ChaosGroup(const ChaosGroup&) = delete;
  ChaosGroup& operator=(const ChaosGroup&) = delete;

  [[nodiscard]] Group& group() { return *group_; }

 private:
  std::optional<Group> group_;
  bool survives_;
  Shared& shared_;
  const Place& place_;
};

/// Ids beyond the experts are a status that names the rank, on every rank.
void use_wrong_ids(Rank& rank, Group& group, const Case& chaos, const Scenario& scenario, const Place& place) {
  const int top_k = scenario.options.max_top_k;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(top_k), 0);
  if (rank.index() == chaos.victim) ids.front() = scenario.options.num_experts + 7;
  const Buffer memory(rank.device(), ids.size() * sizeof(ids[0]));
  memory.upload(ids.data(), memory.bytes());
  const Route route = group.route(ConstTensorView(memory.data(), DType::int32, {1, top_k}, rank.device()), {},
                                  backend().stream(rank.device()));
  place.require(route.status().code == ErrorCode::invalid_id && route.status().rank == chaos.victim,
                "ids beyond the experts are no status that names the rank");
}

/// The fault happens while rounds go on, in whatever stage the kernels are.
void commit(Fault fault, Shared& shared) {
  shared.fault_ns.store(Shared::now_ns());
  if (fault == Fault::killed) ::kill(::getpid(), SIGKILL);
  if (fault == Fault::stopped) ::kill(::getpid(), SIGSTOP);
  if (fault == Fault::exits) ::_exit(0);
  if (fault == Fault::no_rendezvous) shared.end_rendezvous();
}

void run_until_lost(Rank& rank, Group& group, const Case& chaos, const Scenario& scenario, const PlainRound& plain,
                    Shared& shared, const Place& place) {
  round_trip(place, group, scenario, plain, rank.device());
  if (chaos.fault == Fault::wrong_ids) {
    use_wrong_ids(rank, group, chaos, scenario, place);
    return round_trip(place.at("after wrong ids"), group, scenario, plain, rank.device());
  }
  if (chaos.fault == Fault::stopped) group.set_timeout(kDeadline);
  rank.barrier();
  std::thread timer;
  const auto due = Clock::now() + chaos.after;
  if (rank.index() == chaos.victim && chaos.fault != Fault::throws) {
    timer = std::thread([&] {
      std::this_thread::sleep_until(due);
      commit(chaos.fault, shared);
    });
  }
  try {
    for (int round = 0; round < kRounds; ++round) {
      if (rank.index() == chaos.victim && chaos.fault == Fault::throws && Clock::now() >= due) {
        commit(chaos.fault, shared);
        throw std::runtime_error("a bug");
      }
      round_trip(place, group, scenario, plain, rank.device());
    }
  } catch (...) {
    if (timer.joinable()) timer.join();
    throw;
  }
  if (timer.joinable()) timer.join();
  place.require(!chaos.survives(rank.index()), "nothing was noticed");
}

void check_survivor(const Error& error, const Case& chaos, Shared& shared, const Place& place) {
  const std::int64_t late = Shared::now_ns() - shared.fault_ns.load();
  Shared::raise_to(shared.slowest_ns, late);
  place.require(chaos.is_clear(error), std::string("unclear: ") + error.what());
  const auto limit = chaos.fault == Fault::stopped ? kDeadline + kSlack : kSlack;
  place.require(std::chrono::nanoseconds(late) < limit, "told after " + std::to_string(late / 1'000'000) + " ms");
  const cudaError_t context = cudaDeviceSynchronize();
  place.require(context == cudaSuccess, std::string("its context was lost: ") + cudaGetErrorString(context));
}

/// Survivors without the victim; a stopped victim that comes back is told.
void go_on(Rank& rank, Group& group, const Case& chaos, const Scenario& scenario, const PlainRound& left,
           Shared& shared, const Place& place) {
  if (rank.index() == chaos.victim) return expect_left_behind(place, group);  // it was stopped
  if (chaos.fault == Fault::stopped) group.set_timeout(kRollCall);
  const Recovery recovery = group.recover();
  Shared::raise_to(shared.recovered_ns, Shared::now_ns() - shared.fault_ns.load());
  place.require(recovery.masked == std::vector<int>{chaos.victim}, "other ranks are masked than the victim");
  group.set_timeout(kPatience);
  for (int round = 0; round < 3; ++round) {
    round_trip(place.at("recovered"), group, scenario, left, rank.device());
  }
}

/// Nobody can agree any more who goes on.
void expect_no_world(Rank& rank, Group& group, const Place& place) {
  expect_error(place, ErrorCode::aborted, {kNoRendezvous}, [&] { static_cast<void>(group.recover()); });
  expect_error(place, ErrorCode::aborted, {kNoRendezvous}, [&] { rank.barrier(); });
}

void run_rank(Rank& rank, const Case& chaos, const Scenario& scenario, const PlainRound& plain, const PlainRound& left,
              Shared& shared, const Place& place) {
  try {
    GroupOptions options = scenario.options;
    if (chaos.fault == Fault::other_config) shared.fault_ns.store(Shared::now_ns());
    if (chaos.fault == Fault::other_config && rank.index() == chaos.victim) options.max_top_k += 1;
    ChaosGroup owner(rank, options, chaos, shared, place);
    Group& group = owner.group();
    place.require(chaos.fault != Fault::other_config, "nothing was noticed");
    try {
      run_until_lost(rank, group, chaos, scenario, plain, shared, place);
      return;
    } catch (const Error& error) {
      if (chaos.survives(rank.index())) check_survivor(error, chaos, shared, place);
    }
    if (chaos.fault == Fault::no_rendezvous) expect_no_world(rank, group, place);
    if (chaos.others_go_on()) go_on(rank, group, chaos, scenario, left, shared, place);
  } catch (const Error& error) {
    if (chaos.survives(rank.index())) check_survivor(error, chaos, shared, place);
  }
}

std::string run_case(const Case& chaos, Outcomes& outcomes) {
  Scenario scenario = plain_scenario({.ranks = chaos.ranks}, Mode::throughput);
  scenario.options.heap_bytes = std::size_t{8} << 20;
  const PlainRound plain = plain_round(scenario, 7, Layout::rank_major);
  const PlainRound left = without_ranks(scenario, plain, {chaos.victim});
  const ProcessShared<Shared> shared;
  Report report;
  const WorldOptions options = backend().with_devices({.timeout = kPatience, .log_level = LogLevel::off});
  const auto body = [&](Rank& rank) {
    run_rank(rank, chaos, scenario, plain, left, *shared, {&report, "rank " + std::to_string(rank.index())});
  };
  ProcessWorld world(chaos.ranks, options, body, report, {}, chaos.meeting);
  shared->rendezvous.store(world.rendezvous());
  if (chaos.fault == Fault::no_rendezvous) {
    for (int rank = 0; rank < chaos.ranks; ++rank) world.require_success(rank, report);
  } else {
    world.finish_with_victim(chaos.victim, chaos.fault == Fault::killed ? SIGKILL : 0, report);
  }
  Outcome& outcome = outcomes[static_cast<std::size_t>(chaos.fault)];
  ++outcome.faults;
  outcome.recoveries += chaos.others_go_on() ? 1 : 0;
  outcome.slowest_ns = std::max(outcome.slowest_ns, shared->slowest_ns.load());
  outcome.recovered_ns = std::max(outcome.recovered_ns, shared->recovered_ns.load());
  outcome.destroyed_ns = std::max(outcome.destroyed_ns, shared->destroyed_ns.load());
  return report.ok() ? "" : chaos.text + report.text();
}

class CudaChaos : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("RAILYARD_TEST_BACKEND", "cuda-processes", 1); }
};

TEST_F(CudaChaos, SurvivorsAreToldInTimeAndWhatTheyHadIsRight) {
  const std::uint64_t first = from_environment("RAILYARD_TEST_SEED", std::random_device{}());
  const std::uint64_t cases = from_environment("RAILYARD_TEST_CASES", 100);
  std::printf("seeds from %llu, %llu faults\n", static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(cases));
  Outcomes outcomes{};
  for (std::uint64_t seed = first; seed < first + cases; ++seed) {
    ASSERT_EQ(run_case(Case(seed), outcomes), "");
    if ((seed - first) % 10 == 9) std::printf("%llu faults\n", static_cast<unsigned long long>(seed - first + 1));
    std::fflush(stdout);
  }
  std::printf("deadline of the stopped: %lld s\n", static_cast<long long>(kDeadline.count()));
  for (std::size_t fault = 0; fault < outcomes.size(); ++fault) {
    const Outcome& outcome = outcomes[fault];
    std::printf(
        "%-13s %3d faults, slowest survivor told after %.1f ms; %3d recoveries, the slowest by %.1f ms; slowest "
        "destruction %.1f ms\n",
        kFaultNames[fault], outcome.faults, 1e-6 * static_cast<double>(outcome.slowest_ns), outcome.recoveries,
        1e-6 * static_cast<double>(outcome.recovered_ns), 1e-6 * static_cast<double>(outcome.destroyed_ns));
  }
}

}  // namespace
}  // namespace railyard::multi_rank
