// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_wait_statistics.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace railyard::throughput {
namespace {

WaitTotals totals_of(const CudaWaitTotals& totals, double ns_per_cycle) {
  const auto time = [&](std::uint64_t cycles) {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(cycles) * ns_per_cycle));
  };
  return {.count = totals.count, .total = time(totals.total), .longest = time(totals.longest)};
}

// A mailbox slot is free when its next operation begins: nobody waits for it.
StageWaits stages_of(const CudaWaitTotals (&stages)[CudaWaitTable::kStages], double ns_per_cycle) {
  const auto of = [&](device::Stage stage) { return totals_of(stages[CudaWaitTable::index(stage)], ns_per_cycle); };
  return {.slot = {},
          .exchange = of(device::Stage::exchange),
          .arrival = of(device::Stage::arrival),
          .readers = of(device::Stage::readers)};
}

void add(WaitTotals& sum, const WaitTotals& more) {
  sum.count += more.count;
  sum.total += more.total;
  sum.longest = std::max(sum.longest, more.longest);
}

void add(StageWaits& sum, const StageWaits& more) {
  add(sum.slot, more.slot);
  add(sum.exchange, more.exchange);
  add(sum.arrival, more.arrival);
  add(sum.readers, more.readers);
}

}  // namespace

WaitStatistics statistics_of(const CudaWaitTable& table, int num_ranks) {
  const auto& [ns, cycles] = table.rate;
  const double ns_per_cycle = cycles > 0 ? static_cast<double>(ns) / static_cast<double>(cycles) : 0;
  WaitStatistics statistics{.all = stages_of(table.all, ns_per_cycle), .peers = {}};
  for (int rank = 0; rank < num_ranks; ++rank) {
    statistics.peers.push_back(stages_of(table.peers[rank], ns_per_cycle));
  }
  return statistics;
}

void add(WaitStatistics& sum, const WaitStatistics& more) {
  add(sum.all, more.all);
  sum.peers.resize(std::max(sum.peers.size(), more.peers.size()));
  for (std::size_t rank = 0; rank < more.peers.size(); ++rank) add(sum.peers[rank], more.peers[rank]);
}

}  // namespace railyard::throughput
