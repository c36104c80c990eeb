// SPDX-License-Identifier: Apache-2.0
// From one operation's waits to the totals of a group: left at its end, added later (cuda_wait_table.hpp).
#pragma once

#include "device/memory.cuh"
#include "throughput/cuda_operation_times.cuh"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

__device__ __forceinline__ std::uint64_t left_word(std::uint64_t epoch, float cycles) {
  return epoch << 32 | __float_as_uint(cycles);
}

/// One thread of block 0 for each member, behind a barrier with who waited for it. Once all have, one stores the epoch.
__device__ __forceinline__ void leave_waits(const CudaGroup& group, CudaKind kind, std::uint64_t epoch, int peer) {
  CudaLeftWaits& left = group.state->waits.left[static_cast<int>(kind)];
  const OperationTimes& times = operation_times();
  device::store_relaxed_device(&left.waits[peer][CudaLeftWaits::exchange], left_word(epoch, times.exchange[peer]));
  device::store_relaxed_device(&left.waits[peer][CudaLeftWaits::last], left_word(epoch, times.last[peer]));
}

__device__ __forceinline__ void add_wait(CudaWaitTotals& totals, float waited) {
  const auto cycles = static_cast<std::uint64_t>(waited);
  device::add_relaxed_device(&totals.count, std::uint64_t{1});
  device::add_relaxed_device(&totals.total, cycles);
  device::max_relaxed_device(&totals.longest, cycles);
}

/// One thread of a dispatch: this much time, from its begin on, in both clocks.
__device__ __forceinline__ void add_clock_rate(const CudaGroup& group, std::uint64_t now_ns) {
  const OperationTimes& times = operation_times();
  device::add_relaxed_device(&group.state->waits.rate.ns, now_ns - times.entry_ns);
  device::add_relaxed_device(&group.state->waits.rate.cycles, device::cycles() - times.entry);
}

/// One warp: what was left of two peers per lane, `lane` and `lane + 32`.
class LeftWaits {
 public:
  /// `peers`: CudaGroup::peers.
  __device__ LeftWaits(const CudaLeftWaits& left, std::uint64_t peers) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int peer = static_cast<int>(threadIdx.x) % 32 + 32 * half;
      has_[half] = (peers >> peer & 1U) != 0;
#pragma unroll
      for (int wait = 0; wait < CudaLeftWaits::kWaits; ++wait) {
        words_[half][wait] = has_[half] ? device::load_relaxed_device(&left.waits[peer][wait]) : 0;
      }
    }
  }

  /// Whether all words are of this operation.
  [[nodiscard]] __device__ bool are_of(std::uint64_t epoch) const {
    bool all = true;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (const std::uint64_t word : words_[half]) {
        all &= !has_[half] || static_cast<std::uint32_t>(word >> 32) == static_cast<std::uint32_t>(epoch);
      }
    }
    return __all_sync(~0U, static_cast<int>(all)) != 0;
  }

  __device__ void add_to(CudaWaitTable& table, CudaKind kind) const {
    const CudaStage stages[CudaLeftWaits::kWaits] = {
        CudaStage::exchange, kind == CudaKind::dispatch ? CudaStage::arrival : CudaStage::readers};
#pragma unroll
    for (int wait = 0; wait < CudaLeftWaits::kWaits; ++wait) {
      const std::size_t index = CudaWaitTable::index(stages[wait]);
      const float waited[2] = {cycles_of(words_[0][wait]), cycles_of(words_[1][wait])};
      const float longest = longest_wait(waited[0], waited[1]);
      const int lane = static_cast<int>(threadIdx.x) % 32;
      if (lane == 0 && longest > 0) add_wait(table.all[index], longest);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (waited[half] > 0) add_wait(table.peers[lane + 32 * half][index], waited[half]);
      }
    }
  }

 private:
  __device__ static float cycles_of(std::uint64_t word) { return __uint_as_float(static_cast<std::uint32_t>(word)); }

  std::uint64_t words_[2][CudaLeftWaits::kWaits];
  bool has_[2];
};

/// The warp that keeps time, before its first wait: adds what the operation before this one left, whose words are all
/// here, since it has ended.
__device__ __forceinline__ void add_left_waits(const CudaGroup& group, CudaKind kind) {
  CudaWaitTable& table = group.state->waits;
  CudaLeftWaits& left = table.left[static_cast<int>(kind)];
  std::uint64_t epoch = 0;
  if (threadIdx.x % 32 == 0) epoch = device::exchange_relaxed_device(&left.epoch, std::uint64_t{0});
  const LeftWaits waits(left, group.peers());
  if (__shfl_sync(~0U, epoch, 0) != 0) waits.add_to(table, kind);
}

/// One warp, of a kernel that is not ordered with operations: adds what the latest one left, if it has ended.
__device__ __forceinline__ void add_left_waits_beside(CudaWaitTable& table, CudaKind kind, std::uint64_t peers) {
  CudaLeftWaits& left = table.left[static_cast<int>(kind)];
  std::uint64_t epoch = 0;
  if (threadIdx.x % 32 == 0) epoch = device::load_relaxed_device(&left.epoch);
  epoch = __shfl_sync(~0U, epoch, 0);
  const LeftWaits waits(left, peers);
  if (epoch == 0 || !waits.are_of(epoch)) return;
  std::uint64_t found = 0;
  if (threadIdx.x % 32 == 0) found = device::compare_exchange_relaxed_device(&left.epoch, epoch, std::uint64_t{0});
  if (__shfl_sync(~0U, found, 0) == epoch) waits.add_to(table, kind);
}

}  // namespace railyard::throughput
