// SPDX-License-Identifier: Apache-2.0
// What block 0 of an operation learns about time: whom it waited for, and when its stages ended.
//
// Stamps within the operation are cycles of block 0's SM, which any thread reads for nothing. %globaltimer takes longer
// to read and steps by 32 ns or, on some GPUs, a microsecond: it is read where a warp has time. Cycles become
// nanoseconds by what many operations took in both clocks, or, for the trace, this one: SMs change their clock rate.
// Where a GPU is shared by time slices a block may go on on another SM: then cycles mean little.
#pragma once

#include "device/chains.cuh"
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

/// The warp that keeps time, before a barrier of the block and its first wait.
__device__ __forceinline__ void start_times(std::uint64_t entry_ns) {
  OperationTimes& times = operation_times();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) {
    times.entry_ns = entry_ns;
    times.entry = device::cycles();
    times.exchanged = 0;
    times.moved = 0;
  }
  for (int rank = lane; rank < kCudaMaxRanks; rank += 32) {
    times.exchange[rank] = 0;
    times.last[rank] = 0;
  }
}

/// The wait for one peer; a rank is not its own.
__device__ __forceinline__ float waited_for(const CudaGroup& group, const float* waited, int peer) {
  return peer < group.num_ranks && peer != group.rank ? waited[peer] : 0;
}

/// One warp. Waits of a stage begin together: the longest is that of all.
__device__ __forceinline__ float longest_wait(const CudaGroup& group, const float* waited) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float mine = fmaxf(waited_for(group, waited, lane), waited_for(group, waited, lane + 32));
  return __uint_as_float(__reduce_max_sync(~0U, __float_as_uint(mine)));  // none is negative
}
static_assert(kCudaMaxRanks <= 64);

__device__ __forceinline__ void add_wait(CudaWaitTotals& totals, float waited) {
  const auto cycles = static_cast<std::uint64_t>(waited);
  device::add_relaxed_device(&totals.count, std::uint64_t{1});
  device::add_relaxed_device(&totals.total, cycles);
  device::max_relaxed_device(&totals.longest, cycles);
}

/// The warp that keeps time: the waits of one stage. Not inline: the first call of an operation comes while rows are
/// under way, and leaves the instructions in the SM's cache for the second, at whose end everybody waits.
__device__ __noinline__ inline void add_waits(const CudaGroup& group, const float* waited, CudaStage stage) {
  CudaWaitTable& table = group.state->waits;
  const std::size_t index = CudaWaitTable::index(stage);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float longest = longest_wait(group, waited);
  if (longest == 0) return;
  if (lane == 0) add_wait(table.all[index], longest);
#pragma unroll 1
  for (int peer = lane; peer < group.num_ranks; peer += 32) {
    if (waited_for(group, waited, peer) > 0) add_wait(table.peers[peer][index], waited[peer]);
  }
}

/// One thread of a dispatch: this much time, from its begin on, in both clocks.
__device__ __forceinline__ void add_clock_rate(const CudaGroup& group, std::uint64_t now_ns) {
  const OperationTimes& times = operation_times();
  device::add_relaxed_device(&group.state->waits.rate.ns, now_ns - times.entry_ns);
  device::add_relaxed_device(&group.state->waits.rate.cycles, device::cycles() - times.entry);
}

/// One operation in both clocks.
struct OperationClock {
  std::uint64_t end_ns;
  std::uint64_t duration_ns;
  std::uint64_t cycles;  // 0: not known

  [[nodiscard]] __device__ __forceinline__ std::uint64_t span(float waited) const {
    if (cycles == 0) return 0;
    const float duration = static_cast<float>(duration_ns);
    const float ns = waited * __fdividef(duration, static_cast<float>(cycles));
    return ns < duration ? static_cast<std::uint64_t>(ns) : duration_ns;
  }
};

/// One warp.
__device__ __forceinline__ CudaTracedWait traced_wait(const CudaGroup& group, const float* waited,
                                                      const OperationClock& clock) {
  const float longest = longest_wait(group, waited);
  CudaTracedWait wait;
  for (int first = 0; first < group.num_ranks; first += 32) {
    const float mine = waited_for(group, waited, first + static_cast<int>(threadIdx.x) % 32);
    wait.missing += __popc(__ballot_sync(~0U, static_cast<int>(mine > 0)));
    const unsigned latest = __ballot_sync(~0U, static_cast<int>(mine > 0 && mine == longest));
    if (latest != 0) wait.last_peer = first + __ffs(static_cast<int>(latest)) - 1;
  }
  wait.waited_ns = clock.span(longest);
  return wait;
}

/// A stamp in %globaltimer's nanoseconds; 0 if there is none.
__device__ __forceinline__ std::uint64_t stamp_ns(std::uint64_t stamp, const OperationClock& clock) {
  const OperationTimes& times = operation_times();
  if (stamp <= times.entry || clock.cycles == 0) return 0;
  const double share = static_cast<double>(stamp - times.entry) / static_cast<double>(clock.cycles);
  return share < 1 ? times.entry_ns + static_cast<std::uint64_t>(share * static_cast<double>(clock.duration_ns))
                   : clock.end_ns;
}

/// One warp, where the group is traced. The host is the peer of chain 5: it reads `sequence` with acquire.
__device__ __noinline__ inline void write_trace_record(const CudaGroup& group, CudaOperation operation,
                                                       std::uint64_t epoch, bool failed, OperationClock clock) {
  const OperationTimes& times = operation_times();
  CudaTraceRecord record;
  record.epoch = epoch;
  record.entry_ns = times.entry_ns;
  record.exchanged_ns = stamp_ns(times.exchanged, clock);
  record.moved_ns = stamp_ns(times.moved, clock);
  record.end_ns = clock.end_ns;
  record.exchange = traced_wait(group, times.exchange, clock);
  record.last = traced_wait(group, times.last, clock);
  record.operation = operation;
  record.failed = failed ? 1 : 0;
  if (threadIdx.x % 32 != 0) return;
  const std::uint64_t sequence = ++group.state->num_traced;
  CudaTraceRecord* const place = group.trace + (sequence - 1) % kCudaTraceRecords;
  device::store_relaxed_system(&place->sequence, std::uint64_t{0});
  device::writes_to_peer_words();
  *place = record;
  device::writes_to_peer_words();
  device::store_relaxed_system(&place->sequence, sequence);  // pair: trace.record
}

/// The warp that keeps time, after a barrier behind all stamps. Only where the group is traced: it takes time.
__device__ __noinline__ inline void trace_operation(const CudaGroup& group, CudaOperation operation,
                                                    std::uint64_t epoch, bool failed) {
  const OperationTimes& times = operation_times();
  const std::uint64_t end = device::cycles();
  const std::uint64_t end_ns = device::global_time_ns();
  const OperationClock clock{end_ns, end_ns - times.entry_ns, end > times.entry ? end - times.entry : 0};
  write_trace_record(group, operation, epoch, failed, clock);
}

/// The warp that keeps time, after a barrier behind the waits of the exchange.
__device__ __forceinline__ void add_exchange_waits(const CudaGroup& group) {
  add_waits(group, operation_times().exchange, CudaStage::exchange);
}

/// The warp that keeps time, after a barrier behind all waits. `last`: the stage that waits for peers behind the rows.
__device__ __forceinline__ void finish_times(const CudaGroup& group, CudaOperation operation, CudaStage last,
                                             std::uint64_t epoch, bool failed) {
  add_waits(group, operation_times().last, last);
  if (group.trace != nullptr) trace_operation(group, operation, epoch, failed);
}

}  // namespace railyard::throughput
