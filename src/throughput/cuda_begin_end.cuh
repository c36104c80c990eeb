// SPDX-License-Identifier: Apache-2.0
// How an operation of either kind begins and ends: its place in the order of its group, and what it tells of its time.
#pragma once

#include "throughput/cuda_left_waits.cuh"
#include "throughput/cuda_trace_operation.cuh"

#include <cstdint>

namespace railyard::throughput {

/// The thread that begins and confirms an operation: of block 0, which is the first of a grid to be placed.
__device__ __forceinline__ bool begins_operation() { return blockIdx.x == 0 && threadIdx.x == blockDim.x - 1; }

__device__ __forceinline__ void record_overlap(const device::WaitScope& scope, const CudaGroup& group) {
  device::record_failure(scope, {CudaStage::none, group.rank, 0}, ErrorCode::in_flight, 1);
}

/// That thread, before the block's first barrier: whether no other launch of its kind runs. Two would take the same
/// epoch, which nobody on the host can see: replays of graphs on streams that are not ordered.
__device__ __forceinline__ bool begin_operation(const device::WaitScope& scope, const CudaGroup& group,
                                                CudaKindState& state) {
  if (device::exchange_relaxed_device(&state.running, 1) == 0) return true;
  record_overlap(scope, group);
  return false;
}

/// That thread, behind the barrier: that no other launch ended between this block's look at the epoch and its
/// beginning. The next launch's tickets start at 0.
__device__ __forceinline__ void confirm_operation(const device::WaitScope& scope, const CudaGroup& group,
                                                  CudaKindState& state) {
  if (device::load_relaxed_device(&state.epoch) + 1 != scope.epoch) record_overlap(scope, group);
  device::store_relaxed_device(&state.tickets[(scope.epoch + 1) % 2], 0U);
}

/// One thread of block 0, once it has seen this rank's own signal of the operation at its full value: every block of
/// the grid has then signalled, after its last look at the state (chain 8 by way of the signal). Stores only: an answer
/// would be waited for by all.
__device__ __forceinline__ void finish_operation(const CudaGroup& group, CudaKindState& state, std::uint64_t epoch,
                                                 std::uint32_t slot) {
  state.slot = slot + 1 == static_cast<std::uint32_t>(group.control.num_slots) ? 0 : slot + 1;
  state.epoch = epoch;
  device::store_relaxed_device(&state.running, 0);
}

/// All threads of block 0, if timed, behind a barrier with those that left their waits.
__device__ __forceinline__ void end_times(const CudaGroup& group, CudaKind kind, CudaOperation operation,
                                          std::uint64_t epoch, bool failed) {
  if (threadIdx.x == 0) device::store_relaxed_device(&group.state->waits.left[static_cast<int>(kind)].epoch, epoch);
  if (keeps_time() && group.trace != nullptr) trace_operation(group, operation, epoch, failed);
}

/// The same for an operation that came to no last wait.
__device__ __forceinline__ void end_times_early(const CudaGroup& group, CudaKind kind, CudaOperation operation,
                                                std::uint64_t epoch) {
  const int peer = static_cast<int>(threadIdx.x);
  if (peer < group.num_ranks && group.has(peer)) leave_waits(group, kind, epoch, peer);
  __syncthreads();
  end_times(group, kind, operation, epoch, true);
}

}  // namespace railyard::throughput
