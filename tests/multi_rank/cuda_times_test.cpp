// SPDX-License-Identifier: Apache-2.0
// What groups on GPUs tell of their time: whom their kernels waited for, and RAILYARD_TRACE. Ranks are made late on the
// device, behind an operation of another group that has brought them together: how late threads are does not matter.
#include "device/cuda_ranks.hpp"
#include "diagnostics/trace.hpp"
#include "multi_rank/backend.hpp"
#include "multi_rank/plain.hpp"
#include "throughput/cuda_trace_record.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr int kRanks = 3;
constexpr int kLate = 2;
constexpr auto kDelay = 2ms;
constexpr auto kSubmitted = 200ms;  // by then every rank has submitted its part
constexpr auto kAtLeast = 1500us;   // of it must be seen
constexpr auto kAtMost = 8ms;
constexpr auto kOnTime = 500us;  // nobody else is waited for as long

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }

void delay(Stream stream, std::chrono::nanoseconds time) {
  device_tests::busy(static_cast<std::uint64_t>(time.count()), native(stream));
}

std::string text_of(const WaitTotals& totals) {
  return std::to_string(totals.count) + " waits, " + std::to_string(totals.total.count()) + " ns, longest " +
         std::to_string(totals.longest.count());
}

std::string text_of(const StageWaits& waits) {
  return "slot: " + text_of(waits.slot) + "; exchange: " + text_of(waits.exchange) +
         "; arrival: " + text_of(waits.arrival) + "; readers: " + text_of(waits.readers);
}

std::string text_of(const WaitStatistics& statistics) {
  std::string text = "\n    all: " + text_of(statistics.all);
  for (std::size_t peer = 0; peer < statistics.peers.size(); ++peer) {
    text += "\n    rank " + std::to_string(peer) + ": " + text_of(statistics.peers[peer]);
  }
  return text;
}

WaitTotals difference(const WaitTotals& after, const WaitTotals& before) {
  return {.count = after.count - before.count, .total = after.total - before.total, .longest = after.longest};
}

StageWaits difference(const StageWaits& after, const StageWaits& before) {
  return {.slot = difference(after.slot, before.slot),
          .exchange = difference(after.exchange, before.exchange),
          .arrival = difference(after.arrival, before.arrival),
          .readers = difference(after.readers, before.readers)};
}

/// What was waited between two readings; `longest` is the latter's.
WaitStatistics difference(const WaitStatistics& after, const WaitStatistics& before) {
  WaitStatistics since{.all = difference(after.all, before.all), .peers = {}};
  for (std::size_t peer = 0; peer < after.peers.size(); ++peer) {
    since.peers.push_back(difference(after.peers[peer], before.peers[peer]));
  }
  return since;
}

void expect_nothing(const Place& place, const StageWaits& waits, const std::string& what) {
  for (const WaitTotals* totals : {&waits.slot, &waits.exchange, &waits.arrival, &waits.readers}) {
    place.require(totals->count == 0 && totals->total == 0ns, what);
  }
}

/// One operation that everyone waited kDelay for kLate in.
void expect_late(const Place& place, const WaitStatistics& waits, int rank) {
  const std::string seen = text_of(waits);
  const auto require = [&](bool condition, const std::string& what) { place.require(condition, what + seen); };
  expect_nothing(place, waits.peers[static_cast<std::size_t>(rank)], "a rank waited for itself" + seen);
  require(waits.all.slot.count == 0, "a mailbox slot was waited for");
  std::chrono::nanoseconds longest{0};
  for (int peer = 0; peer < kRanks; ++peer) {
    const StageWaits& of_peer = waits.peers[static_cast<std::size_t>(peer)];
    const std::string name = "rank " + std::to_string(peer);
    longest = std::max(longest, of_peer.exchange.total);
    if (peer == kLate && rank != kLate) {
      require(of_peer.exchange.count == 1, name + " was late once");
      require(of_peer.exchange.total >= kAtLeast, name + " was late, and this does not show");
      require(of_peer.exchange.total <= kAtMost, name + " was not as late as that");
    } else {
      require(of_peer.exchange.count <= 1, name + " was waited for at most once");
      require(of_peer.exchange.total < kOnTime, name + " was on time");
    }
    require(of_peer.arrival.total < kOnTime && of_peer.readers.total < kOnTime,
            name + ": its transfer is charged with a delay that came before it");
  }
  require(waits.all.exchange.total == longest, "waits of one operation begin together: all is the longest of them");
  require(waits.all.exchange.count <= 1, "one operation has one wait");
}

class CudaTimes : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("RAILYARD_TEST_BACKEND", "cuda-threads", 0); }

  CudaTimes() { scenario_.options.heap_bytes = std::size_t{8} << 20; }

  // Processes that share a GPU run one after the other.
  static bool ranks_run_together() {
    return backend().name() == "cuda-threads" || backend().with_devices({}).devices.size() >= kRanks;
  }

  Scenario scenario_ = plain_scenario({.ranks = kRanks}, Mode::throughput);
};

/// Brings the ranks together on the device: what is submitted in the next kSubmitted begins everywhere within
/// microseconds, at kLate kDelay later.
class Start {
 public:
  Start(Rank& rank, const Scenario& scenario, const PlainRound& plain)
      : rank_(rank), input_(rank.device(), plain, rank.index()), group_(rank, options_of(scenario)) {}

  void operator()(Stream stream) {
    rank_.barrier();
    delay(stream, kSubmitted);
    static_cast<void>(group_.dispatch(input_.x.view, input_.ids.view, input_.options, stream));
    if (rank_.index() == kLate) delay(stream, kDelay);
  }

  static GroupOptions options_of(const Scenario& scenario) {
    GroupOptions options = scenario.options;
    options.num_sms = 4;
    return options;
  }

 private:
  Rank& rank_;
  PlainInput input_;
  Group group_;
};

TEST_F(CudaTimes, ALateRankIsChargedAtTheOthersAndNobodyElseIs) {
  if (!ranks_run_together()) GTEST_SKIP() << "needs a GPU for each process";
  const PlainRound plain = plain_round(scenario_, 1200, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const auto r = static_cast<std::size_t>(rank.index());
                        const Stream stream = backend().stream(rank.device());
                        const std::int64_t hidden = scenario_.options.hidden;
                        Start start(rank, scenario_, plain);
                        Group group(rank, Start::options_of(scenario_));
                        expect_error(place, ErrorCode::unsupported, {"set_wait_statistics(true)"},
                                     [&] { static_cast<void>(group.wait_statistics()); });
                        group.set_wait_statistics(true);
                        const PlainInput input(rank.device(), plain, rank.index());
                        const WaitStatistics none = group.wait_statistics();
                        place.equal(none.peers.size(), std::size_t{kRanks}, "peers");
                        expect_nothing(place, none.all, "a new group has waited" + text_of(none));
                        start(stream);
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        check_plain(place, scenario_, plain, rank.index(), got);
                        const WaitStatistics dispatched = group.wait_statistics();
                        expect_late(place.at("dispatch"), dispatched, rank.index());
                        place.require(dispatched.all.readers.count == 0, "a dispatch has no readers");
                        place.require(dispatched.all.exchange.longest == dispatched.all.exchange.total,
                                      "one wait is the longest" + text_of(dispatched));

                        const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
                        upload(y, plain.round.combines.front().y[r].packed);
                        const Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
                        const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
                        start(stream);
                        group.combine(y, got.route, view, {}, stream).event.synchronize();
                        const WaitStatistics both = group.wait_statistics();
                        expect_late(place.at("combine"), difference(both, dispatched), rank.index());
                        place.require(both.all.arrival.count == dispatched.all.arrival.count,
                                      "a combine waits for no arrivals" + text_of(both));

                        start(stream);
                        group.dispatch(input.x.view, got.route, {}, stream).event.synchronize();
                        expect_late(place.at("dispatch along a route"), difference(group.wait_statistics(), both),
                                    rank.index());
                      }),
            "");
}

// The statistics are there while the others' kernels wait for this rank, and copies of theirs behind them.
TEST_F(CudaTimes, AreReadWhileTheOthersWaitForTheReader) {
  scenario_.options.timeout = 20s;
  const PlainRound plain = plain_round(scenario_, 1201, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        void* copy = nullptr;  // pinned: the host does not wait for it; unpinning would
                        check(cudaHostAlloc(&copy, 64, cudaHostAllocDefault));
                        Group group(rank, scenario_.options);
                        group.set_wait_statistics(true);
                        const PlainInput input(rank.device(), plain, rank.index());
                        for (int i = 0; i < 20; ++i) {
                          const bool reads = rank.index() == i % kRanks;
                          std::optional<Dispatched> got;
                          const auto dispatch = [&] {
                            got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          };
                          if (!reads) {
                            dispatch();
                            check(cudaMemcpyAsync(copy, got->rows.data(), 64, cudaMemcpyDeviceToHost, native(stream)));
                          }
                          rank.barrier();
                          if (reads) {
                            const auto begin = std::chrono::steady_clock::now();
                            static_cast<void>(group.wait_statistics());
                            const auto took = std::chrono::steady_clock::now() - begin;
                            place.require(took < 5s, "reading took " + std::to_string(took.count()) + " ns");
                            dispatch();
                          }
                          check_plain(place.at("round " + std::to_string(i)), scenario_, plain, rank.index(), *got);
                        }
                      }),
            "");
}

/// But for what a cycle is taken for, which every dispatch makes more exact.
void expect_no_less(const Place& place, const WaitTotals& totals, const WaitTotals& before) {
  place.require(totals.count >= before.count && totals.total >= before.total * 0.99,
                "totals have shrunk: " + text_of(totals) + " after " + text_of(before));
}

// Waits are added by the next operation of the kind, or by a reading beside it. A batch is as many operations as may be
// submitted ahead on a GPU that ranks share: none begins before all are there.
TEST_F(CudaTimes, AReadingAddsNothingTwiceAndLosesNothing) {
  if (!ranks_run_together()) GTEST_SKIP() << "needs a GPU for each process";
  constexpr int kBatches = 6;
  constexpr int kOperations = 12;  // of a batch: dispatches and combines in turn
  const PlainRound plain = plain_round(scenario_, 1202, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const auto r = static_cast<std::size_t>(rank.index());
                        const Stream stream = backend().stream(rank.device());
                        const std::int64_t hidden = scenario_.options.hidden;
                        Group group(rank, Start::options_of(scenario_));
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
                        upload(y, plain.round.combines.front().y[r].packed);
                        const Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
                        const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
                        const auto submit = [&](int operation) {
                          if (rank.index() == kLate) delay(stream, operation == 0 ? kSubmitted : 100us);
                          if (operation % 2 == 0) {
                            static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options, stream));
                          } else {
                            group.combine(y, got.route, view, {}, stream);
                          }
                        };
                        const auto waits_for_late = [&] { return group.wait_statistics().peers[kLate].exchange; };
                        std::uint64_t expected = 0;
                        const auto expect_all = [&](int submitted, const std::string& what) {
                          check(cudaStreamSynchronize(native(stream)));
                          if (rank.index() != kLate) expected += static_cast<std::uint64_t>(submitted);
                          place.equal(expected, waits_for_late().count, "waits for the late rank, " + what);
                          place.equal(expected, waits_for_late().count, "read again, " + what);
                        };
                        group.set_wait_statistics(true);
                        WaitTotals before;
                        for (int batch = 0; batch < kBatches; ++batch) {
                          rank.barrier();
                          for (int i = 0; i < kOperations; ++i) submit(i);
                          while (batch % 2 == 0 && cudaStreamQuery(native(stream)) == cudaErrorNotReady) {
                            const WaitTotals now = waits_for_late();
                            expect_no_less(place, now, before);
                            before = now;
                          }
                          expect_all(kOperations, batch % 2 == 0 ? "read meanwhile" : "added by operations");
                        }

                        rank.barrier();
                        for (int i = 0; i < 6; ++i) {
                          group.set_wait_statistics(i / 2 != 1);
                          submit(i);
                        }
                        expect_all(4, "where two of six are not measured");
                      }),
            "");
}

/// With RAILYARD_TRACE, and what is in the files of all processes afterwards.
class CudaTraced : public CudaTimes {
 protected:
  CudaTraced() : base_(std::filesystem::temp_directory_path() / ("railyard_gpu_trace_" + std::to_string(::getpid()))) {
    ::setenv("RAILYARD_TRACE", (base_.native() + ".{rank}").c_str(), 1);
  }
  ~CudaTraced() override {
    ::unsetenv("RAILYARD_TRACE");
    for (int rank = 0; rank < kRanks; ++rank) std::filesystem::remove(file(rank));
  }

  [[nodiscard]] std::string file(int rank) const { return base_.native() + "." + std::to_string(rank); }

  /// Of phase `phase`: "X" spans, "i" instants.
  [[nodiscard]] std::vector<json> events(const std::string& phase) const {
    std::vector<json> found;
    for (int rank = 0; rank < kRanks; ++rank) {  // threads write one file, of rank 0
      if (!std::filesystem::exists(file(rank))) continue;
      const json document = json::parse(std::ifstream(file(rank)));
      for (const json& event : document.at("traceEvents")) {
        if (event.at("ph") == phase) found.push_back(event);
      }
    }
    return found;
  }

  const std::filesystem::path base_;
};

std::int64_t ns_of(const json& event, const char* what) {
  return std::llround(event.at(what).get<double>() * 1000);  // three decimals of a microsecond
}
std::int64_t begin_of(const json& event) { return ns_of(event, "ts"); }
std::int64_t end_of(const json& event) { return begin_of(event) + ns_of(event, "dur"); }

/// One kernel: its own event, those of its stages and waits.
struct Kernel {
  json event;
  std::map<std::string, json> stages;
  std::map<std::string, json> waits;  // by stage
};

/// [rank][group's first row] kernels in order. Rows of one group follow each other: a stage's row says whose it is.
std::map<int, std::map<int, std::vector<Kernel>>> kernels_of(const std::vector<json>& spans) {
  constexpr int kRows = 6;
  std::map<int, std::map<int, std::vector<Kernel>>> kernels;
  std::map<std::string, Kernel*> by_key;
  const auto key = [](const json& event, const std::string& operation) {
    const int group = (event.at("tid").get<int>() - 1) / kRows;
    return event.at("pid").dump() + "/" + std::to_string(group) + "/" + operation + "/" +
           event.at("args").at("epoch").dump();
  };
  for (const json& event : spans) {
    if (event.at("cat") == "kernel") {
      kernels[event.at("pid")][(event.at("tid").get<int>() - 1) / kRows].push_back({event, {}, {}});
    }
  }
  for (auto& [rank, groups] : kernels) {
    for (auto& [group, list] : groups) {
      std::stable_sort(list.begin(), list.end(),
                       [](const Kernel& a, const Kernel& b) { return begin_of(a.event) < begin_of(b.event); });
      for (Kernel& kernel : list) by_key[key(kernel.event, kernel.event.at("name"))] = &kernel;
    }
  }
  for (const json& event : spans) {
    if (event.at("cat") == "kernel") continue;
    const bool is_wait = event.at("cat") == "wait";
    const auto kernel = by_key.find(key(event, is_wait ? event.at("args").at("operation") : event.at("name")));
    if (kernel == by_key.end()) {
      ADD_FAILURE() << "a stage without its kernel: " << event;
      continue;
    }
    if (is_wait) {
      const int row = (event.at("tid").get<int>() - 1) % kRows;
      kernel->second->waits[row == 1 ? "exchange" : "last"] = event;
    } else {
      EXPECT_TRUE(kernel->second->stages.emplace(event.at("cat"), event).second) << "twice: " << event;
    }
  }
  return kernels;
}

/// Stages fill their kernel, one behind the other; waits lie within them.
void expect_whole(const Kernel& kernel, const std::vector<std::string>& stages) {
  ASSERT_EQ(kernel.stages.size(), stages.size()) << kernel.event;
  std::int64_t at = begin_of(kernel.event);
  for (const std::string& name : stages) {
    ASSERT_TRUE(kernel.stages.contains(name)) << "no " << name << " in " << kernel.event;
    const json& stage = kernel.stages.at(name);
    EXPECT_LE(std::abs(begin_of(stage) - at), 1) << stage << " of " << kernel.event;
    EXPECT_GE(ns_of(stage, "dur"), 0) << stage;
    at = end_of(stage);
  }
  EXPECT_LE(std::abs(end_of(kernel.event) - at), 1) << kernel.event;
  for (const auto& [name, wait] : kernel.waits) {
    const json& stage = kernel.stages.at(name == "last" ? stages.back() : name);
    EXPECT_GE(begin_of(wait), begin_of(stage) - 1) << wait << " of " << stage;
    EXPECT_LE(end_of(wait), end_of(stage) + 1) << wait << " of " << stage;
    EXPECT_NE(wait.at("name"), "wait for rank " + wait.at("pid").dump()) << wait;
    EXPECT_GE(wait.at("args").at("missing").get<int>(), 1) << wait;
    EXPECT_LT(wait.at("args").at("missing").get<int>(), kRanks) << wait;
  }
}

const std::vector<std::string> kDispatchStages{"exchange", "write", "arrival"};
const std::vector<std::string> kCombineStages{"exchange", "pull", "readers"};

/// Dispatch and combine, captured.
cudaGraphExec_t capture(Group& group, const PlainInput& input, const Tensor& y, const TensorView& out, Stream stream) {
  check(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal));
  {
    const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
    group.combine(y, got.route, out, {}, stream);
  }
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(native(stream), &graph));
  cudaGraphExec_t replay = nullptr;
  check(cudaGraphInstantiate(&replay, graph, 0));
  check(cudaGraphDestroy(graph));
  return replay;
}

TEST_F(CudaTraced, EveryOperationIsThereAndEveryReplay) {
  constexpr int kEager = 3;
  constexpr int kReplays = 40;
  const PlainRound plain = plain_round(scenario_, 1210, Layout::rank_major);
  const std::int64_t before = diagnostics::trace_clock();
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const auto r = static_cast<std::size_t>(rank.index());
                        const Stream stream = backend().stream(rank.device());
                        const std::int64_t hidden = scenario_.options.hidden;
                        Group group(rank, scenario_.options);
                        for (int i = 0; i < kEager; ++i) round_trip(place, group, scenario_, plain, rank.device());
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
                        upload(y, plain.round.combines.front().y[r].packed);
                        const Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
                        const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
                        cudaGraphExec_t const replay = capture(group, input, y, view, stream);
                        for (int i = 0; i < kReplays; ++i) {
                          check(cudaGraphLaunch(replay, native(stream)));
                          if (i % 16 == 15) check(cudaStreamSynchronize(native(stream)));
                        }
                        check(cudaStreamSynchronize(native(stream)));
                        place.require(out.download() == plain.expected.combined.front()[r],
                                      "combine differs from the reference");
                        check(cudaGraphExecDestroy(replay));
                      }),
            "");
  const std::int64_t after = diagnostics::trace_clock();
  EXPECT_TRUE(events("i").empty()) << events("i").front();
  const auto kernels = kernels_of(events("X"));
  ASSERT_EQ(kernels.size(), std::size_t{kRanks});
  constexpr std::size_t kOperations = 2 * (kEager + kReplays);
  constexpr std::int64_t kSlackNs = 50'000;  // of the clocks
  for (const auto& [rank, groups] : kernels) {
    ASSERT_EQ(groups.size(), 1U) << rank;
    const std::vector<Kernel>& list = groups.begin()->second;
    ASSERT_EQ(list.size(), kOperations) << rank;
    std::int64_t latest = before - kSlackNs;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Kernel& kernel = list[i];
      const bool combines = i % 2 == 1;
      EXPECT_EQ(kernel.event.at("name"), combines ? "combine" : "dispatch") << rank << ", " << i;
      EXPECT_EQ(kernel.event.at("args").at("epoch"), i / 2 + 1) << rank << ", " << i;
      EXPECT_GE(begin_of(kernel.event), latest) << "before the last one's end, or the world: " << kernel.event;
      latest = end_of(kernel.event);
      expect_whole(kernel, combines ? kCombineStages : kDispatchStages);
    }
    EXPECT_LE(latest, after + kSlackNs) << rank;
  }
  // The exchange is a barrier: nobody leaves it before everybody has come. So the clocks are the same within the slack.
  for (std::size_t i = 0; i < kOperations; ++i) {
    std::int64_t last_entry = 0;
    std::int64_t first_exchanged = after + kSlackNs;
    for (const auto& [rank, groups] : kernels) {
      const Kernel& kernel = groups.begin()->second[i];
      last_entry = std::max(last_entry, begin_of(kernel.event));
      first_exchanged = std::min(first_exchanged, end_of(kernel.stages.at("exchange")));
    }
    EXPECT_GE(first_exchanged, last_entry - kSlackNs) << "operation " << i;
  }
}

TEST_F(CudaTraced, ALateRankIsNamedByTheOthers) {
  if (!ranks_run_together()) GTEST_SKIP() << "needs a GPU for each process";
  const PlainRound plain = plain_round(scenario_, 1211, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Start start(rank, scenario_, plain);  // group 0
                        Group group(rank, Start::options_of(scenario_));
                        const PlainInput input(rank.device(), plain, rank.index());
                        start(stream);
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        check_plain(place, scenario_, plain, rank.index(), got);
                      }),
            "");
  auto kernels = kernels_of(events("X"));
  for (int rank = 0; rank < kRanks; ++rank) {
    ASSERT_EQ(kernels[rank].size(), 2U) << rank;
    ASSERT_EQ(kernels[rank].at(1).size(), 1U) << rank;
    const Kernel& kernel = kernels[rank].at(1).front();
    expect_whole(kernel, kDispatchStages);
    const std::chrono::nanoseconds exchange(ns_of(kernel.stages.at("exchange"), "dur"));
    if (rank == kLate) {
      EXPECT_LT(exchange, kOnTime) << kernel.stages.at("exchange");
      continue;
    }
    EXPECT_GE(exchange, kAtLeast) << kernel.stages.at("exchange");
    ASSERT_TRUE(kernel.waits.contains("exchange")) << kernel.event;
    const json& wait = kernel.waits.at("exchange");
    EXPECT_EQ(wait.at("name"), "wait for rank " + std::to_string(kLate));
    EXPECT_GE(std::chrono::nanoseconds(ns_of(wait, "dur")), kAtLeast) << wait;
    for (const char* const stage : {"write", "arrival"}) {
      EXPECT_LT(std::chrono::nanoseconds(ns_of(kernel.stages.at(stage), "dur")), kOnTime) << kernel.stages.at(stage);
    }
    // The late rank began when the others had waited.
    const std::int64_t entry = begin_of(kernel.event);
    const std::int64_t late = begin_of(kernels[kLate].at(1).front().event);
    EXPECT_GE(late - entry, std::chrono::nanoseconds(kAtLeast).count()) << kernel.event;
    EXPECT_LE(late - entry, std::chrono::nanoseconds(kAtMost).count()) << kernel.event;
  }
}

TEST_F(CudaTraced, ATimeoutIsAnEventAndAWait) {
  const PlainRound plain = plain_round(scenario_, 1212, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        GroupOptions options = scenario_.options;
                        options.timeout = 200ms;
                        Group group(rank, options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        if (rank.index() != kLate) {
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          expect_error(place, ErrorCode::timeout, {"rank 2", "exchange"}, [&] { got.check(); });
                          const WaitStatistics waits = group.wait_statistics();
                          const WaitTotals& late = waits.peers[kLate].exchange;
                          place.require(late.count == 1 && late.total >= 190ms && late.total < 20s,
                                        "a wait that gave up is charged" + text_of(waits));
                          place.require(waits.all.exchange.total >= late.total, "and is in all" + text_of(waits));
                        }
                        rank.barrier();
                      }),
            "");
  std::set<int> failed;
  for (const json& event : events("i")) {
    failed.insert(event.at("pid").get<int>());
    EXPECT_NE(event.at("args").at("message").get<std::string>().find("stage exchange"), std::string::npos) << event;
  }
  EXPECT_EQ(failed, (std::set<int>{0, 1}));
  auto kernels = kernels_of(events("X"));
  EXPECT_FALSE(kernels.contains(kLate));
  for (const int rank : {0, 1}) {
    ASSERT_EQ(kernels[rank].size(), 1U) << rank;
    ASSERT_EQ(kernels[rank].at(0).size(), 1U) << rank;
    const Kernel& kernel = kernels[rank].at(0).front();
    expect_whole(kernel, {"exchange"});
    EXPECT_GE(std::chrono::nanoseconds(ns_of(kernel.event, "dur")), 190ms) << kernel.event;
    ASSERT_TRUE(kernel.waits.contains("exchange")) << kernel.event;
    EXPECT_EQ(kernel.waits.at("exchange").at("name"), "wait for rank 2");
  }
}

// More replays than the ring holds, without a call of the group: the latest are there, and the log says so.
TEST_F(CudaTraced, WhatWasOverwrittenIsCounted) {
  if (backend().name() != "cuda-threads") GTEST_SKIP() << "reads the log of all ranks";
  constexpr int kReplays = 2100;  // of two operations
  constexpr int kLost = 2 * kReplays - static_cast<int>(throughput::kCudaTraceRecords);
  static_assert(kLost > 0);
  const PlainRound plain = plain_round(scenario_, 1213, Layout::rank_major);
  std::mutex mutex;
  std::string log;
  WorldOptions world;
  world.log = [&](LogLevel, std::string_view line) {
    const std::lock_guard lock(mutex);
    log.append(line).push_back('\n');
  };
  EXPECT_EQ(run_ranks(
                kRanks,
                [&](Rank& rank, const Place&) {
                  const auto r = static_cast<std::size_t>(rank.index());
                  const Stream stream = backend().stream(rank.device());
                  const std::int64_t hidden = scenario_.options.hidden;
                  Group group(rank, scenario_.options);
                  const PlainInput input(rank.device(), plain, rank.index());
                  const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
                  const Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
                  const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
                  cudaGraphExec_t const replay = capture(group, input, y, view, stream);
                  for (int i = 0; i < kReplays; ++i) {
                    check(cudaGraphLaunch(replay, native(stream)));
                    if (i % 16 == 15) check(cudaStreamSynchronize(native(stream)));
                  }
                  check(cudaStreamSynchronize(native(stream)));
                  check(cudaGraphExecDestroy(replay));
                },
                world),
            "");
  for (int rank = 0; rank < kRanks; ++rank) {
    const std::string said =
        "rank " + std::to_string(rank) + ": " + std::to_string(kLost) + " operations are not in the trace";
    EXPECT_NE(log.find(said), std::string::npos) << said << ", but the log has:\n" << log;
  }
  for (const auto& [rank, groups] : kernels_of(events("X"))) {
    const std::vector<Kernel>& list = groups.begin()->second;
    ASSERT_EQ(list.size(), throughput::kCudaTraceRecords) << rank;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::size_t operation = i + kLost;
      ASSERT_EQ(list[i].event.at("args").at("epoch"), operation / 2 + 1) << rank << ", " << i;
    }
  }
}

}  // namespace
}  // namespace railyard::multi_rank
