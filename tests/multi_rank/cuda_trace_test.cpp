// SPDX-License-Identifier: Apache-2.0
// RAILYARD_TRACE of groups on GPUs: what their kernels tell, replays of graphs included.
#include "diagnostics/trace.hpp"
#include "multi_rank/cuda_times.hpp"
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
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

using nlohmann::json;

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
cudaGraphExec_t capture(Group& group, const PlainInput& input, const CombineBuffers& combine, Stream stream) {
  check(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal));
  {
    const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
    group.combine(combine.y, got.route, combine.view, {}, stream);
  }
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(native(stream), &graph));
  cudaGraphExec_t replay = nullptr;
  check(cudaGraphInstantiate(&replay, graph, 0));
  check(cudaGraphDestroy(graph));
  return replay;
}

/// Until all are done; 16 at most lie ahead of the stream. Ends the graph.
void replay_and_destroy(cudaGraphExec_t replay, int times, Stream stream) {
  for (int i = 0; i < times; ++i) {
    check(cudaGraphLaunch(replay, native(stream)));
    if (i % 16 == 15) check(cudaStreamSynchronize(native(stream)));
  }
  check(cudaStreamSynchronize(native(stream)));
  check(cudaGraphExecDestroy(replay));
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
                        Group group(rank, scenario_.options);
                        for (int i = 0; i < kEager; ++i) round_trip(place, group, scenario_, plain, rank.device());
                        const PlainInput input(rank.device(), plain, rank.index());
                        const CombineBuffers combine(group, rank, plain, scenario_.options.hidden, stream);
                        replay_and_destroy(capture(group, input, combine, stream), kReplays, stream);
                        place.require(combine.out.download() == plain.expected.combined.front()[r],
                                      "combine differs from the reference");
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
                  const Stream stream = backend().stream(rank.device());
                  Group group(rank, scenario_.options);
                  const PlainInput input(rank.device(), plain, rank.index());
                  const CombineBuffers combine(group, rank, plain, scenario_.options.hidden, stream);
                  replay_and_destroy(capture(group, input, combine, stream), kReplays, stream);
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
