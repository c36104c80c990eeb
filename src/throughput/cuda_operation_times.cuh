// SPDX-License-Identifier: Apache-2.0
// What block 0 of an operation learns about time: whom it waited for, and when its stages ended.
//
// Stamps within the operation are cycles of block 0's SM, which any thread reads for nothing. %globaltimer takes longer
// to read and steps by 32 ns or, on some GPUs, a microsecond: it is read where a warp has time. Cycles become
// nanoseconds by what many operations took in both clocks, or, for the trace, this one: SMs change their clock rate.
// Where a GPU is shared by time slices a block may go on on another SM: then cycles mean little.
#pragma once

#include "device/clock.cuh"
#include "throughput/cuda_group.hpp"

#include <cstdint>

namespace railyard::throughput {

/// Shared memory of block 0. Cycles but for `entry_ns`; 0: did not come to it, was there at the first look.
struct OperationTimes {
  std::uint64_t entry_ns;
  std::uint64_t entry;
  std::uint64_t exchanged;
  std::uint64_t moved;
  float exchange[kCudaMaxRanks];  // waited for each peer's counts or offer
  float last[kCudaMaxRanks];      // waited for its rows, or for it to have read
};

__device__ __forceinline__ OperationTimes& operation_times() {
  __shared__ OperationTimes times;
  return times;
}

/// The last warp of block 0: in a dispatch it moves no rows.
__device__ __forceinline__ bool keeps_time() { return blockIdx.x == 0 && threadIdx.x / 32 == blockDim.x / 32 - 1; }

/// All threads, before a barrier of the block and its first wait. `entry_ns`: the last thread's.
__device__ __forceinline__ void start_times(std::uint64_t entry_ns) {
  OperationTimes& times = operation_times();
  if (threadIdx.x < kCudaMaxRanks) {
    times.exchange[threadIdx.x] = 0;
    times.last[threadIdx.x] = 0;
  } else if (threadIdx.x == blockDim.x - 1) {
    times.entry_ns = entry_ns;
    times.entry = device::cycles();
    times.exchanged = 0;
    times.moved = 0;
  }
}

/// The wait for one peer; a rank is not its own.
__device__ __forceinline__ float waited_for(const CudaGroup& group, const float* waited, int peer) {
  return peer < group.num_ranks && peer != group.rank ? waited[peer] : 0;
}

/// One warp. Waits of a stage begin together: the longest is that of all. `low`, `high`: for peer `lane`, `lane + 32`.
__device__ __forceinline__ float longest_wait(float low, float high) {
  return __uint_as_float(__reduce_max_sync(~0U, __float_as_uint(fmaxf(low, high))));  // none is negative
}
static_assert(kCudaMaxRanks <= 64);

}  // namespace railyard::throughput
