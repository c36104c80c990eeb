// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_dispatch_plan.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <string>

namespace railyard::throughput {
namespace {

alignas(16) constexpr std::array<std::byte, 32> kMemory{};
constexpr std::size_t kBf16Row = 14336;
constexpr std::size_t kFp8Row = 7168;

/// Top-8 of 256 experts; bytes of rows at addresses that are never read.
DispatchLaunch launch_of(int ranks, int blocks, std::size_t row_bytes, int tokens = 512) {
  DispatchLaunch launch;
  launch.group.num_ranks = ranks;
  launch.placement.num_experts = 256;
  launch.placement.max_local_experts = 256;
  launch.route.top_k = 8;
  launch.route.max_tokens = tokens;
  launch.ids = kMemory.data();
  launch.num_tokens = tokens;
  launch.num_blocks = blocks;
  launch.rows.data = kMemory.data();
  launch.rows.bytes = row_bytes;
  launch.rows.pitch = row_bytes;
  return launch;
}

DispatchLaunch with_scales(DispatchLaunch launch, std::size_t step) {
  launch.rows.scales = kMemory.data();
  launch.rows.scale_element = 4;
  launch.rows.scale_step = step;
  launch.rows.num_scales = launch.rows.bytes / 128;
  launch.rows.scale_pitch = launch.rows.num_scales * step;
  return launch;
}

int senders(const DispatchLaunch& launch) { return DispatchPlan::of(launch).num_senders; }

TEST(DispatchPlan, FromThreeRanksOnFewerWarpsFillTheLinks) {
  EXPECT_EQ(senders(launch_of(2, 16, kBf16Row)), 2);
  EXPECT_EQ(senders(launch_of(3, 16, kBf16Row)), 1);
  EXPECT_EQ(senders(launch_of(4, 12, kBf16Row)), 1);
  EXPECT_EQ(senders(launch_of(4, 11, kBf16Row)), 2);  // here SMs limit
  EXPECT_EQ(senders(with_scales(launch_of(2, 16, kFp8Row), 4)), 4);
  EXPECT_EQ(senders(with_scales(launch_of(2, 12, kFp8Row), 4)), 5);
  EXPECT_EQ(senders(with_scales(launch_of(4, 16, kFp8Row), 4)), 3);
  EXPECT_EQ(senders(with_scales(launch_of(4, 8, kFp8Row), 4)), 5);
}

TEST(DispatchPlan, RowsThatWarpsCopyAndSmallOnesKeepTheirWarps) {
  DispatchLaunch unaligned = launch_of(4, 16, kBf16Row);
  unaligned.rows.data = kMemory.data() + 4;
  EXPECT_EQ(senders(unaligned), 2);
  EXPECT_EQ(senders(with_scales(launch_of(4, 16, kFp8Row), 8)), 4);  // gathered
  EXPECT_EQ(senders(launch_of(4, 16, 2048)), 4);
}

TEST(DispatchPlan, LooksUpEveryRankOrEverySlotOfAKnownRoute) {
  DispatchLaunch launch = launch_of(40, 16, kBf16Row);
  EXPECT_EQ(DispatchPlan::of(launch).num_lookups, 40);
  launch.operation = CudaOperation::routed_dispatch;
  EXPECT_EQ(DispatchPlan::of(launch).num_lookups, 8);
  launch.group.num_ranks = 3;
  EXPECT_EQ(DispatchPlan::of(launch).num_lookups, 3);
}

TEST(DispatchPlan, EveryShapeFitsABlockAndItsRingsLeaveTimeToLookUp) {
  for (const int ranks : {1, 2, 3, 8, 32, kCudaMaxRanks}) {
    for (const int top_k : {1, 8, kCudaMaxTopK}) {
      for (const int tokens : {0, 1, 200, 256, 4096}) {
        for (const std::size_t bytes : {std::size_t{2}, kFp8Row, kBf16Row, std::size_t{57344}}) {
          for (const CudaEncode encode : {CudaEncode::copy, CudaEncode::bf16_to_fp8_e4m3}) {
            DispatchLaunch launch = launch_of(ranks, 16, bytes, tokens);
            launch.route.top_k = top_k;
            launch.rows.encode = encode;
            if (encode != CudaEncode::copy && bytes % 16 != 0) continue;
            SCOPED_TRACE(testing::Message() << ranks << " ranks, top-" << top_k << ", " << tokens << " tokens, "
                                            << bytes << " bytes, encode " << static_cast<int>(encode));
            const DispatchPlan plan = DispatchPlan::of(launch);
            EXPECT_LE(plan.shared.bytes, kSharedLimit);
            EXPECT_GE(plan.num_senders, 1);
            EXPECT_EQ(plan.num_stages, encode == CudaEncode::copy ? kMinStages : 1);
            const auto stages = static_cast<std::size_t>(plan.num_senders * plan.num_stages);
            const std::size_t targets = stages * static_cast<std::size_t>(plan.num_lookups) * sizeof(CudaTransfer);
            EXPECT_GE(plan.shared.barriers, stages * plan.stage_bytes);
            EXPECT_LE(plan.shared.targets + targets, plan.shared.destinations);
          }
        }
      }
    }
  }
}

TEST(DispatchPlan, WarpsAndStagesOutsideTheirLimitsAreErrorsThatNameThem) {
  const auto error_of = [](int senders, int stages) -> std::string {
    DispatchLaunch launch = launch_of(2, 16, kBf16Row);
    launch.num_senders = senders;
    launch.num_stages = stages;
    try {
      static_cast<void>(DispatchPlan::of(launch));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_of(2, 3), "");
  EXPECT_EQ(error_of(1, 8), "");
  EXPECT_NE(error_of(2, 2).find("2 senders with 2 stages; the limits are 14, and 3 to 8"), std::string::npos);
  EXPECT_NE(error_of(2, 9).find("2 senders with 9 stages"), std::string::npos);
  EXPECT_NE(error_of(15, 3).find("15 senders with 3 stages"), std::string::npos);
}

}  // namespace
}  // namespace railyard::throughput
