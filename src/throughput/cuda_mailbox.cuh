// SPDX-License-Identifier: Apache-2.0
// Writing and awaiting mailbox words, in operations of both kinds.
#pragma once

#include "device/chains.cuh"
#include "throughput/cuda_launch.hpp"
#include "throughput/cuda_operation_times.cuh"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x / 32); }
__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x % 32); }

template <class T>
__device__ __forceinline__ T* at(std::byte* base, std::size_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

/// This block's part of one signal: the parts of all blocks sum to kCudaSignalStep, whatever the grid.
__device__ __forceinline__ std::uint64_t signal_share() {
  static_assert(kCudaSignalStep <= (1U << 31) / kCudaMaxBlocks);  // a division of 64 bits is a hundred instructions
  constexpr auto kStep = static_cast<std::uint32_t>(kCudaSignalStep);
  return (blockIdx.x + 1) * kStep / gridDim.x - blockIdx.x * kStep / gridDim.x;
}

/// The mailbox that `source` writes at `owner`.
__device__ __forceinline__ std::uint64_t* mailbox_at(const CudaGroup& group, CudaKind kind, std::uint32_t slot,
                                                     int owner, int source) {
  return at<std::uint64_t>(group.heaps[owner], group.control_offset + group.control.mailbox(kind, slot, source));
}

/// One warp: the first kGrantWords words of this rank's mailbox at every member. `value_of(word)`: its low 32 bits
/// count. What this thread, its warp and earlier kernels of its stream wrote or finished reading is released with them.
template <class ValueOf>
__device__ __forceinline__ void publish_grant_words(const CudaGroup& group, CudaKind kind, std::uint32_t slot,
                                                    std::uint32_t tag, ValueOf value_of) {
  device::writes_to_peer_words();
#pragma unroll 1
  for (int index = lane_index(); index < group.num_ranks * kGrantWords; index += 32) {
    const int owner = (group.rank + 1 + index / kGrantWords) % group.num_ranks;
    const int word = index % kGrantWords;
    if (!group.has(owner)) continue;
    device::store_word(mailbox_at(group, kind, slot, owner, group.rank) + word, tag,
                       static_cast<std::uint32_t>(value_of(static_cast<MailboxWord>(word))));
  }
}

/// All threads of the block. Waits for those of `num_words` words of every member that `is_needed(source, word)`, into
/// `words` [ranks, num_words]; of the others they are zeros. Compares descriptors. False, in all threads, if the group
/// has failed. If timed, block 0 notes how long it waited for each source's last word, which comes with the others or
/// after them; a thread that waits for several words (more than 16 ranks) begins its later waits later. `meanwhile()`
/// is done by each thread before its waits: by the low warps alone, or it delays them.
template <bool kTimed, class IsNeeded, class Meanwhile>
__device__ __forceinline__ bool wait_for_words(const device::WaitScope& scope, const CudaGroup& group, CudaKind kind,
                                               std::uint32_t slot, int num_words, std::uint32_t descriptor,
                                               std::uint32_t* words, IsNeeded is_needed, Meanwhile meanwhile) {
  __shared__ int failures;
  const auto tag = static_cast<std::uint32_t>(scope.epoch);
  if (threadIdx.x == 0) failures = 0;
  __syncthreads();
  meanwhile();
  // The highest threads first: the lowest warps may still be busy with rows.
  const int threads = static_cast<int>(blockDim.x);
#pragma unroll 1
  for (int index = threads - 1 - static_cast<int>(threadIdx.x); index < group.num_ranks * num_words; index += threads) {
    const int source = index / num_words;
    const int word = index % num_words;
    if (!is_needed(source, word)) continue;
    if (!group.has(source)) {
      words[index] = 0;
      continue;
    }
    std::uint32_t value = 0;
    float waited = 0;
    const bool came = device::wait_for_word(scope, source, mailbox_at(group, kind, slot, group.rank, source) + word,
                                            tag, value, waited);
    if constexpr (kTimed) {
      if (blockIdx.x == 0 && word == num_words - 1) operation_times().exchange[source] = waited;
    }
    if (!came) {
      atomicOr(&failures, 1);
      continue;  // so that every peer that is missing is named
    }
    words[index] = value;
    if (word == static_cast<int>(MailboxWord::descriptor) && value != descriptor) {
      device::record_failure(scope, {CudaStage::exchange, source, descriptor}, ErrorCode::operation_mismatch, value);
      atomicOr(&failures, 1);
    }
  }
  __syncthreads();
  return failures == 0;
}

}  // namespace railyard::throughput
