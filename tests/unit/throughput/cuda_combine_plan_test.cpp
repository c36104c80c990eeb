// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_combine_plan.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace railyard::throughput {
namespace {

alignas(16) constinit std::array<std::byte, 64> memory{};

/// BF16 into BF16 at an address that is never written.
CombineLaunch launch_of(int hidden, int ranks = 2, int blocks = 16) {
  CombineLaunch launch;
  launch.group.num_ranks = ranks;
  launch.route.max_tokens = 128;
  launch.hidden = hidden;
  launch.y_pitch = static_cast<std::uint64_t>(hidden) * 4;
  launch.out = memory.data();
  launch.out_pitch = static_cast<std::size_t>(hidden) * 2;
  launch.num_blocks = blocks;
  return launch;
}

int plain_vectors(const CombineLaunch& launch) { return CombinePlan::of(launch).plain_vectors; }

TEST(CombinePlan, TheLongestChunksThatDivideARowAreTakenWhole) {
  const struct {
    int hidden, vectors;
  } cases[] = {{7168, 7}, {3584, 7}, {6144, 6}, {3072, 6}, {5120, 5}, {4096, 4}, {2048, 4}, {1024, 4}, {8192, 4}};
  for (const auto& [hidden, vectors] : cases) {
    const CombinePlan plan = CombinePlan::of(launch_of(hidden));
    EXPECT_EQ(plan.plain_vectors, vectors) << hidden;
    EXPECT_EQ(plan.chunk, static_cast<std::uint32_t>(vectors) * kChunkStep) << hidden;
    EXPECT_EQ(plan.row_bytes % plan.chunk, 0U) << hidden;
  }
  for (const int hidden : {8, 256, 512, 768, 2880, 7160, 7176})
    EXPECT_EQ(plain_vectors(launch_of(hidden)), 0) << hidden;
}

TEST(CombinePlan, WhatIsNotCopiedVectorByVectorIsNotPlain) {
  CombineLaunch launch = launch_of(7168);
  EXPECT_EQ(plain_vectors(launch), 7);
  launch.out = memory.data() + 2;
  EXPECT_EQ(plain_vectors(launch), 0);
  launch = launch_of(7168);
  launch.out_pitch += 2;
  EXPECT_EQ(plain_vectors(launch), 0);
  launch = launch_of(7168);
  launch.out_dtype = DType::fp32;
  EXPECT_EQ(plain_vectors(launch), 0);
  launch.y_dtype = DType::fp32;
  EXPECT_EQ(plain_vectors(launch), 0);
  EXPECT_TRUE(CombinePlan::of(launch).packed_out);
  launch = launch_of(7168);
  launch.biases[0].data = memory.data();
  launch.biases[0].pitch = 7168 * 2;
  EXPECT_EQ(plain_vectors(launch), 0);
  launch = launch_of(7168);
  launch.y_dtype = launch.out_dtype = DType::fp16;
  EXPECT_EQ(plain_vectors(launch), 7);
}

TEST(CombinePlan, ChunksAreNoLongerThanAskedFor) {
  for (const int hidden : {8, 1000, 2880, 4096, 7168, 16384}) {
    for (std::uint32_t chunk = kChunkStep; chunk <= kMaxChunk; chunk += kChunkStep) {
      CombineLaunch launch = launch_of(hidden);
      launch.max_chunk = chunk;
      const CombinePlan plan = CombinePlan::of(launch);
      EXPECT_LE(plan.chunk, chunk) << hidden;
      EXPECT_EQ(plan.chunk % kChunkStep, 0U) << hidden;
      EXPECT_GE(static_cast<std::uint32_t>(plan.num_chunks) * plan.chunk, plan.row_bytes) << hidden;
    }
  }
}

TEST(CombinePlan, EveryShapeFitsABlockAndNothingOverlaps) {
  for (const int ranks : {1, 2, 8, kCudaMaxRanks}) {
    for (const int blocks : {1, 8, 16, 32, kCudaMaxBlocks}) {
      for (const int hidden : {8, 256, 1024, 2048, 2880, 5120, 7168, 65536}) {
        const CombinePlan plan = CombinePlan::of(launch_of(hidden, ranks, blocks));
        const auto stages = static_cast<std::uint32_t>(plan.num_reducers * plan.num_stages);
        EXPECT_GE(plan.num_stages, kCombineStages);
        EXPECT_GE(plan.shared.stages, stages * plan.chunk);
        EXPECT_GE(plan.shared.sources, plan.shared.stages + stages * kRingStageBytes);
        EXPECT_GE(plan.shared.words, plan.shared.sources + static_cast<std::uint32_t>(ranks) * sizeof(PulledRows));
        EXPECT_GE(plan.shared.bytes, plan.shared.words + static_cast<std::uint32_t>(ranks) * kGrantWords * 4U);
        EXPECT_EQ((plan.shared.stages | plan.shared.sources | plan.shared.words) % 16, 0U);
        EXPECT_LE(plan.shared.bytes, kSharedLimit);
      }
    }
  }
}

TEST(CombinePlan, WhatDoesNotFitIsRefusedWithBytesAndLimit) {
  CombineLaunch launch = launch_of(7168);
  launch.num_stages = kMaxCombineStages;
  try {
    static_cast<void>(CombinePlan::of(launch));
    FAIL() << "16 warps with 8 chunks of 3584 bytes were planned";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("bytes of shared memory; the limit is"), std::string::npos);
  }
}

}  // namespace
}  // namespace railyard::throughput
