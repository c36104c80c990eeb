// SPDX-License-Identifier: Apache-2.0
// Barriers of a part of a block: whole warps, counted. A warp that leaves is waited for, unlike at __syncthreads: every
// decision to leave is the block's.
#pragma once

#include <cstdint>

namespace railyard::device {

/// Which of the block's sixteen; 0 is __syncthreads.
enum class NamedBarrier : std::uint8_t {
  counts = 1,   // warps that write metadata, before their expert counts leave
  route = 2,    // warps that route
  signals = 3,  // warps that write for peers, before the signals
};

/// Among `threads` threads, a multiple of 32; each warp with all its lanes.
__device__ __forceinline__ void synchronize(NamedBarrier barrier, int threads) {
  __syncwarp();
  asm volatile("barrier.sync %0, %1;" ::"r"(static_cast<int>(barrier)), "r"(threads) : "memory");
}

}  // namespace railyard::device
