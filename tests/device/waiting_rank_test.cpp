// SPDX-License-Identifier: Apache-2.0
// What a rank that waits costs other work on its GPU: its threads must not keep the bus to the host busy.
#include "device/cuda_ranks.hpp"
#include "device/exchange.hpp"
#include "device/other_work.hpp"
#include "device/scenario.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <thread>

namespace railyard::device_tests {
namespace {

constexpr int kBlocks = 16;

class WaitingRank : public testing::TestWithParam<bool> {};

TEST_P(WaitingRank, LeavesTheBusToOthers) {
  const bool warns = GetParam();
  CudaRanks ranks({.num_ranks = 2, .timeout_ns = 20'000'000'000});
  ranks.use(0);
  OtherWork other;
  Scenario scenario = random_scenario(3, ranks.size(), {.max_tokens = 100, .max_blocks = kBlocks, .only_plain = true});
  Exchange exchange(ranks, scenario);
  for (int r = 0; r < ranks.size(); ++r) {
    exchange.rank(r).dispatch.num_blocks = kBlocks;
    ranks[r].host_control->warn_ns = warns ? 1'000'000 : 0;
  }
  const double idle = other.median_us(OtherWork::Kind::word_to_host);
  throughput::launch_dispatch(exchange.rank(0).dispatch);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const double waiting = other.median_us(OtherWork::Kind::word_to_host);
  ASSERT_EQ(cudaStreamQuery(ranks[0].stream), cudaErrorNotReady);
  const auto stage_missed = [&] { return *static_cast<volatile device::Stage*>(&ranks[0].report->missing[1].stage); };
  EXPECT_EQ(stage_missed(), warns ? device::Stage::exchange : device::Stage::none);
  ranks.use(1);
  throughput::launch_dispatch(exchange.rank(1).dispatch);
  ranks.synchronize();
  EXPECT_EQ(ranks[0].report->code, 0U);
  EXPECT_EQ(stage_missed(), device::Stage::none);
  EXPECT_LT(waiting, 3 * idle + 30) << "idle: " << idle << " us";
  std::printf("a copy of 8 bytes: %.1f us idle, %.1f us while a rank waits\n", idle, waiting);
}

INSTANTIATE_TEST_SUITE_P(Warnings, WaitingRank, testing::Bool());

}  // namespace
}  // namespace railyard::device_tests
