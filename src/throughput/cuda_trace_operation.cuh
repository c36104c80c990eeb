// SPDX-License-Identifier: Apache-2.0
// What a traced group tells of one operation: a record in memory that the host reads meanwhile.
#pragma once

#include "device/chains.cuh"
#include "throughput/cuda_operation_times.cuh"

#include <cstdint>

namespace railyard::throughput {

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
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float longest = longest_wait(waited_for(group, waited, lane), waited_for(group, waited, lane + 32));
  CudaTracedWait wait;
  for (int first = 0; first < group.num_ranks; first += 32) {
    const float mine = waited_for(group, waited, first + lane);
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

}  // namespace railyard::throughput
