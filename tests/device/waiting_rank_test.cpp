// SPDX-License-Identifier: Apache-2.0
// What a rank that waits costs other work on its GPU: its threads must not keep the bus to the host busy.
#include "device/cuda_ranks.hpp"
#include "device/exchange.hpp"
#include "device/scenario.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

namespace railyard::device_tests {
namespace {

using Microseconds = std::chrono::duration<double, std::micro>;

constexpr int kBlocks = 16;

/// A stream beside the ranks' own, and a word of the GPU that is copied to pinned host memory.
class SmallCopies {
 public:
  SmallCopies() {
    REQUIRE_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    REQUIRE_CUDA(cudaMalloc(&from_, sizeof(std::uint64_t)));
    REQUIRE_CUDA(cudaHostAlloc(&to_, sizeof(std::uint64_t), cudaHostAllocDefault));
  }
  ~SmallCopies() {
    static_cast<void>(cudaFreeHost(to_));
    static_cast<void>(cudaFree(from_));
    static_cast<void>(cudaStreamDestroy(stream_));
  }
  SmallCopies(const SmallCopies&) = delete;
  SmallCopies& operator=(const SmallCopies&) = delete;

  Microseconds median_time() {
    std::vector<Microseconds> times(201);
    for (Microseconds& time : times) {
      const auto start = std::chrono::steady_clock::now();
      REQUIRE_CUDA(cudaMemcpyAsync(to_, from_, sizeof(std::uint64_t), cudaMemcpyDeviceToHost, stream_));
      REQUIRE_CUDA(cudaStreamSynchronize(stream_));
      time = std::chrono::steady_clock::now() - start;
    }
    std::ranges::nth_element(times, times.begin() + 100);
    return times[100];
  }

 private:
  cudaStream_t stream_ = nullptr;
  void* from_ = nullptr;
  void* to_ = nullptr;
};

class WaitingRank : public testing::TestWithParam<bool> {};

TEST_P(WaitingRank, LeavesTheBusToOthers) {
  const bool warns = GetParam();
  CudaRanks ranks({.num_ranks = 2, .timeout_ns = 20'000'000'000});
  ranks.use(0);
  SmallCopies copies;
  Scenario scenario = random_scenario(3, ranks.size(), {.max_tokens = 100, .max_blocks = kBlocks, .only_plain = true});
  Exchange exchange(ranks, scenario);
  for (int r = 0; r < ranks.size(); ++r) {
    exchange.rank(r).dispatch.num_blocks = kBlocks;
    ranks[r].host_control->warn_ns = warns ? 1'000'000 : 0;
  }
  const Microseconds idle = copies.median_time();
  throughput::launch_dispatch(exchange.rank(0).dispatch);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const Microseconds waiting = copies.median_time();
  ASSERT_EQ(cudaStreamQuery(ranks[0].stream), cudaErrorNotReady);
  const auto stage_missed = [&] { return *static_cast<volatile device::Stage*>(&ranks[0].report->missing[1].stage); };
  EXPECT_EQ(stage_missed(), warns ? device::Stage::exchange : device::Stage::none);
  ranks.use(1);
  throughput::launch_dispatch(exchange.rank(1).dispatch);
  ranks.synchronize();
  EXPECT_EQ(ranks[0].report->code, 0U);
  EXPECT_EQ(stage_missed(), device::Stage::none);
  EXPECT_LT(waiting.count(), 3 * idle.count() + 30) << "idle: " << idle.count() << " us";
  std::printf("a copy of 8 bytes: %.1f us idle, %.1f us while a rank waits\n", idle.count(), waiting.count());
}

INSTANTIATE_TEST_SUITE_P(Warnings, WaitingRank, testing::Bool());

}  // namespace
}  // namespace railyard::device_tests
