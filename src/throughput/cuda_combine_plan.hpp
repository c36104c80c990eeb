// SPDX-License-Identifier: Apache-2.0
// How one combine launch divides its work and its shared memory: computed by the host, read by the kernel.
#pragma once

#include "throughput/cuda_dispatch_plan.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

inline constexpr int kCombineStages = 3;  // of a warp's ring, by default, if they have kMaxChunk bytes
inline constexpr int kMaxCombineStages = 8;
inline constexpr std::size_t kRingStageBytes = 16;  // what a warp notes of a stage
inline constexpr int kMinPlainVectors = 4;          // of a lane in a plain launch: with less there are many chunks
inline constexpr int kVectorsPerLane = 7;
inline constexpr std::uint32_t kChunkStep = 512;                          // bytes: a vector per lane
inline constexpr std::uint32_t kMaxChunk = kVectorsPerLane * kChunkStep;  // of y in a stage

/// Where one rank's y is.
struct alignas(16) PulledRows {
  const std::byte* rows;
  std::uint32_t pitch16;  // in 16 bytes
  std::uint32_t exhausted;
};

/// Offsets into a block's dynamic shared memory.
struct CombineShared {
  std::uint32_t stages = 0;   // [reducers, stages] RingStage, behind the stages' bytes
  std::uint32_t sources = 0;  // [ranks] PulledRows
  std::uint32_t words = 0;    // [ranks, kGrantWords] uint32
  std::uint32_t bytes = 0;
};

struct CombinePlan {
  int num_reducers = kWarps;  // warps
  int num_stages = kCombineStages;
  int num_chunks = 1;       // pieces of a row
  Quotient by_chunks;       // items / num_chunks
  std::uint32_t chunk = 0;  // bytes of y in a full piece, a multiple of 512
  std::uint32_t row_bytes = 0;
  bool vector_out = false;  // out can be written 16 bytes at a time
  bool packed_out = false;  // and has y's dtype, so that a vector of y becomes one of out
  int plain_vectors = 0;    // 0: not plain; else packed, of 2-byte elements, no biases, each chunk this many per lane
  bool vector_bias[2] = {};
  CombineShared shared;

  /// Throws railyard::Error unless the launch can be planned.
  [[nodiscard]] static CombinePlan of(const CombineLaunch& launch);
};

/// The kernel's only parameter.
struct CombineParams {
  CombineLaunch call;
  CombinePlan plan;
};
static_assert(sizeof(CombineParams) <= 4096, "kernel parameters hold 4096 bytes");

}  // namespace railyard::throughput
