// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_timing.hpp"

#include "cli/bench/cuda_kernels.hpp"
#include "device/cuda_call.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;
using device::UseDevice;

/// How long streams are held: for the ranks to meet, and for each submission.
constexpr std::uint64_t kHoldNs = 500'000;
constexpr std::uint64_t kHoldPerReplayNs = 10'000;
constexpr std::uint64_t kHoldPerCallNs = 50'000;
constexpr std::uint64_t kMostHoldNs = 1'000'000'000;

using Table = std::vector<std::vector<double>>;  // [rank][submission]

/// Microseconds of each submission after `warmup` ones.
Table intervals(World& world, const RankStreams& streams, const GraphPlan& plan, std::uint64_t hold_ns,
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
  Table table;
  for (const EventRow& own : events) {
    std::vector<double>& row = table.emplace_back();
    for (int i = 0; i < count; ++i) row.push_back(own.microseconds(warmup + i));
  }
  return table;
}

std::vector<double> slowest_of(const Table& table) {
  std::vector<double> slowest = table.front();
  for (const std::vector<double>& row : table) {
    for (std::size_t i = 0; i < row.size(); ++i) slowest[i] = std::max(slowest[i], row[i]);
  }
  return slowest;
}

Table call_intervals(World& world, const RankStreams& streams, int warmup, int calls, const Submit& submit) {
  const std::uint64_t hold_ns = kHoldNs + kHoldPerCallNs * static_cast<std::uint64_t>(warmup + calls);
  return intervals(world, streams, {.warmup = warmup, .replays = calls}, hold_ns, submit);
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
  std::vector<double> replays = slowest_of(intervals(
      world, streams, plan, kHoldNs + kHoldPerReplayNs * static_cast<std::uint64_t>(plan.warmup + plan.replays),
      [&](int rank, int) { graphs[static_cast<std::size_t>(rank)].launch(streams[rank]); }));
  world.run([&](Rank& rank) { plan.finish(rank.index()); });
  for (double& replay : replays) {
    replay /= plan.operations;
  }
  return Series(std::move(replays));
}

Series time_calls(World& world, const RankStreams& streams, int warmup, int calls, const Submit& submit) {
  return Series(slowest_of(call_intervals(world, streams, warmup, calls, submit)));
}

std::vector<Series> time_calls_of_ranks(World& world, const RankStreams& streams, int warmup, int calls,
                                        const Submit& submit) {
  std::vector<Series> ranks;
  for (std::vector<double>& row : call_intervals(world, streams, warmup, calls, submit)) {
    ranks.emplace_back(std::move(row));
  }
  return ranks;
}

}  // namespace railyard::cli::bench
