// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_wait_statistics.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

namespace railyard::throughput {
namespace {

using device::Stage;
using std::chrono::nanoseconds;

// Every number of a table is another one.
CudaWaitTable numbered(std::uint64_t first) {
  CudaWaitTable table;
  table.rate = {.ns = 1, .cycles = 1};
  const auto number = [&](CudaWaitTotals(&stages)[CudaWaitTable::kStages]) {
    for (CudaWaitTotals& totals : stages) {
      totals = {.count = first, .total = first + 1, .longest = first + 2};
      first += 3;
    }
  };
  number(table.all);
  for (auto& peer : table.peers) number(peer);
  return table;
}

void expect_numbers(const WaitTotals& totals, std::uint64_t first, std::int64_t longest) {
  EXPECT_EQ(totals.count, first);
  EXPECT_EQ(totals.total, nanoseconds(first + 1));
  EXPECT_EQ(totals.longest, nanoseconds(longest));
}

TEST(CudaWaitStatistics, EachNumberIsAtItsPeerAndStage) {
  const WaitStatistics statistics = statistics_of(numbered(100), 3);
  ASSERT_EQ(statistics.peers.size(), 3U);
  std::uint64_t first = 100;
  for (const StageWaits* waits : {&statistics.all, &statistics.peers[0], &statistics.peers[1], &statistics.peers[2]}) {
    EXPECT_EQ(waits->slot.count, 0U);
    for (const WaitTotals* totals : {&waits->exchange, &waits->arrival, &waits->readers}) {
      expect_numbers(*totals, first, static_cast<std::int64_t>(first) + 2);
      first += 3;
    }
  }
}

TEST(CudaWaitStatistics, CyclesBecomeNanoseconds) {
  CudaWaitTable table = numbered(100);
  table.rate = {.ns = 500, .cycles = 1000};
  const WaitStatistics statistics = statistics_of(table, 1);
  EXPECT_EQ(statistics.all.exchange.count, 100U);
  EXPECT_EQ(statistics.all.exchange.total, nanoseconds(50));
  EXPECT_EQ(statistics.all.exchange.longest, nanoseconds(51));
  table.rate = {};  // nothing has run
  EXPECT_EQ(statistics_of(table, 1).all.exchange.total, nanoseconds(0));
}

TEST(CudaWaitStatistics, SumsAddTotalsAndKeepTheLongest) {
  WaitStatistics sum;
  add(sum, statistics_of(numbered(100), 2));
  add(sum, statistics_of(numbered(50), 2));
  ASSERT_EQ(sum.peers.size(), 2U);
  // The readers of the second peer are the ninth triple: 100 + 24 and 50 + 24.
  EXPECT_EQ(sum.peers[1].readers.count, 124U + 74U);
  EXPECT_EQ(sum.peers[1].readers.total, nanoseconds(125 + 75));
  EXPECT_EQ(sum.peers[1].readers.longest, nanoseconds(126));
}

}  // namespace
}  // namespace railyard::throughput
