// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_timing.hpp"

#include "cli/bench/cuda_kernels.hpp"
#include "device/cuda_call.hpp"

#include <algorithm>
#include <cstdint>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;
using device::UseDevice;

/// How long streams are held: for the ranks to meet, and for each submission.
constexpr std::uint64_t kHoldNs = 500'000;
constexpr std::uint64_t kHoldPerReplayNs = 10'000;
constexpr std::uint64_t kHoldPerCallNs = 50'000;
constexpr std::uint64_t kMostHoldNs = 1'000'000'000;

/// Microseconds of each submission after `warmup` ones, of the slowest rank.
std::vector<double> intervals(World& world, const RankStreams& streams, const GraphPlan& plan, std::uint64_t hold_ns,
                              const Submit& submit) {
  const int warmup = plan.warmup;
  const int count = plan.replays;
  const int all = warmup + count;
  std::vector<EventRow> events;
  for (int rank = 0; rank < world.size(); ++rank) {
    events.emplace_back(streams.device(rank), all + 1);
  }
  world.run([&](Rank& rank) {
    const int index = rank.index();
    const UseDevice use(streams.device(index));
    EventRow& own = events[static_cast<std::size_t>(index)];
    plan.begin(index);
    rank.barrier();
    hold_stream(streams[index], std::min(hold_ns, kMostHoldNs));
    for (int i = 0; i < all; ++i) {
      own.record(i, streams[index]);
      submit(index, i);
    }
    own.record(all, streams[index]);
    require_cuda(cudaStreamSynchronize(streams[index]), "timed work");
    plan.end(index);
  });
  std::vector<double> slowest(static_cast<std::size_t>(count));
  for (const EventRow& own : events) {
    for (int i = 0; i < count; ++i) {
      double& value = slowest[static_cast<std::size_t>(i)];
      value = std::max(value, own.microseconds(warmup + i));
    }
  }
  return slowest;
}

}  // namespace

Series time_graph(World& world, const RankStreams& streams, const GraphPlan& plan, const Submit& submit) {
  std::vector<RecordedWork> graphs(static_cast<std::size_t>(world.size()));
  world.run([&](Rank& rank) {
    const int index = rank.index();
    const UseDevice use(streams.device(index));
    RecordedWork& own = graphs[static_cast<std::size_t>(index)];
    own = RecordedWork(streams[index], [&] {
      for (int operation = 0; operation < plan.operations; ++operation) {
        submit(index, operation);
      }
    });
    own.upload(streams[index]);
    plan.prepare(index);
    require_cuda(cudaStreamSynchronize(streams[index]), "preparing a graph");
  });
  std::vector<double> replays = intervals(
      world, streams, plan, kHoldNs + kHoldPerReplayNs * static_cast<std::uint64_t>(plan.warmup + plan.replays),
      [&](int rank, int) { graphs[static_cast<std::size_t>(rank)].launch(streams[rank]); });
  world.run([&](Rank& rank) { plan.finish(rank.index()); });
  for (double& replay : replays) {
    replay /= plan.operations;
  }
  return Series(std::move(replays));
}

Series time_calls(World& world, const RankStreams& streams, int warmup, int calls, const Submit& submit) {
  const std::uint64_t hold_ns = kHoldNs + kHoldPerCallNs * static_cast<std::uint64_t>(warmup + calls);
  return Series(intervals(world, streams, {.warmup = warmup, .replays = calls}, hold_ns, submit));
}

}  // namespace railyard::cli::bench
