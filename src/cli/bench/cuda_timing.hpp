// SPDX-License-Identifier: Apache-2.0
// Timing of what all ranks submit to their streams. The streams are held until everything, or enough of it, has been
// submitted, so that launching is not what is timed; then the work of each interval follows that of the one before.
#pragma once

#include "cli/bench/cuda_resources.hpp"
#include "cli/bench/timing.hpp"

#include <railyard/world.hpp>

#include <functional>
#include <vector>

namespace railyard::cli::bench {

/// Called by every rank in its thread: submits operation number `operation` to the rank's stream.
using Submit = std::function<void(int rank, int operation)>;

struct GraphPlan {
  int operations = 8;                                  // in one graph: those numbered from 0
  int warmup = 0;                                      // replays
  int replays = 0;                                     // that are measured
  std::function<void(int rank)> prepare = [](int) {};  // called by every rank between recording and the first replay
  std::function<void(int rank)> finish = [](int) {};   // and after the last one, while the graphs are there
  std::function<void(int rank)> begin = [](int) {};    // just before replays are submitted
  std::function<void(int rank)> end = [](int) {};      // just after they have ended
};

/// Every rank's operations as a graph, all ranks' graphs replayed together: microseconds per operation, one value per
/// replay, of the slowest rank.
[[nodiscard]] Series time_graph(World& world, const RankStreams& streams, const GraphPlan& plan, const Submit& submit);

/// Single operations, numbered from 0 through warmup and measurement: one value each, of the slowest rank.
[[nodiscard]] Series time_calls(World& world, const RankStreams& streams, int warmup, int calls, const Submit& submit);
/// The same, of each rank: [rank].
[[nodiscard]] std::vector<Series> time_calls_of_ranks(World& world, const RankStreams& streams, int warmup, int calls,
                                                      const Submit& submit);

}  // namespace railyard::cli::bench
