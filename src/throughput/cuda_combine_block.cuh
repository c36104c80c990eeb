// SPDX-License-Identifier: Apache-2.0
// What all warps of a combine share: the block's view of the launch, and what warps note of their rings.
#pragma once

#include "device/wait.cuh"
#include "throughput/cuda_combine_plan.hpp"
#include "throughput/cuda_mailbox.cuh"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

/// What a stage of a ring holds, or will.
struct alignas(8) PendingLoad {
  static constexpr int kEnd = 0x7FFFFFFF;
  static constexpr std::uint32_t kFirst = 1;  // of its item
  static constexpr std::uint32_t kLast = 2;
  static constexpr std::uint32_t kData = 4;  // there is a row
  static constexpr std::uint32_t kNan = 8;   // a row was lost: the item is NaN
  int token;
  std::uint32_t flags;  // and the chunk, from bit kChunkShift on
  static constexpr int kChunkShift = 8;

  /// All of these.
  [[nodiscard]] __device__ bool has(std::uint32_t wanted) const { return (flags & wanted) == wanted; }
  [[nodiscard]] __device__ std::uint32_t chunk() const { return flags >> kChunkShift; }
};

struct RingStage {
  std::uint64_t barrier;
  PendingLoad load;
};
static_assert(sizeof(RingStage) == kRingStageBytes);

/// One warp's, in shared memory.
struct Ring {
  std::byte* bytes;   // [stages, chunk]
  RingStage* stages;  // [stages]
};

struct CombineBlock {
  const CombineParams& p;
  std::byte* shared;
  CudaKindState& state;
  std::uint64_t epoch;
  std::uint32_t slot;
  int num_items;  // tokens x chunks

  [[nodiscard]] __device__ const CudaGroup& group() const { return p.call.group; }
  [[nodiscard]] __device__ device::WaitScope waits() const {
    return {&group().state->wait_state, group().host_control, group().report, CudaOperation::combine, epoch};
  }
  [[nodiscard]] __device__ std::uint64_t* readers_done(int owner, int reader) const {
    return at<std::uint64_t>(group().heaps[owner],
                             group().control_offset + group().control.readers_done_signal(reader));
  }
  [[nodiscard]] __device__ PulledRows* sources() const { return at<PulledRows>(shared, p.plan.shared.sources); }
  [[nodiscard]] __device__ std::uint32_t* words(int source) const {
    return at<std::uint32_t>(shared, p.plan.shared.words) + source * kGrantWords;
  }
  [[nodiscard]] __device__ std::uint64_t wide_word(int source, MailboxWord low) const {
    const std::uint32_t* const word = words(source) + static_cast<int>(low);
    return static_cast<std::uint64_t>(word[1]) << 32 | word[0];
  }
  [[nodiscard]] __device__ Ring ring() const {
    const auto first = static_cast<std::uint32_t>(warp_index() * p.plan.num_stages);
    return {shared + first * p.plan.chunk, at<RingStage>(shared, p.plan.shared.stages) + first};
  }
  /// Bytes of y from the row's begin to a chunk's, and in it.
  [[nodiscard]] __device__ std::uint32_t chunk_begin(std::uint32_t chunk) const { return chunk * p.plan.chunk; }
  [[nodiscard]] __device__ std::uint32_t chunk_bytes(std::uint32_t chunk) const {
    return min(p.plan.chunk, p.plan.row_bytes - chunk_begin(chunk));
  }
  /// Of the load's chunk, 16 bytes each.
  [[nodiscard]] __device__ int num_vectors(const PendingLoad& load) const {
    return static_cast<int>(chunk_bytes(load.chunk()) / 16);
  }
  /// The load's chunk of out, where out is as y.
  [[nodiscard]] __device__ std::byte* packed_out(const PendingLoad& load) const {
    return p.call.out + static_cast<std::size_t>(load.token) * p.call.out_pitch + chunk_begin(load.chunk());
  }
};

}  // namespace railyard::throughput
