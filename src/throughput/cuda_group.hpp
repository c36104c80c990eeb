// SPDX-License-Identifier: Apache-2.0
// What the kernels of one group know about it, at one rank: the heaps of all ranks, counters, and how waits end.
#pragma once

#include "device/wait_report.hpp"
#include "throughput/cuda_control_layout.hpp"
#include "throughput/cuda_trace_record.hpp"
#include "throughput/cuda_wait_table.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

/// Counters of one kind of operation, in this rank's device memory; only this rank's kernels touch them.
struct alignas(128) CudaKindState {
  std::uint64_t epoch = 0;    // last finished operation; advanced once per launch, by block 0
  std::uint32_t slot = 0;     // mailbox slot of the next operation; a counter of its own
  std::uint32_t running = 0;  // 1 while a launch runs: a second one beside it is an error
  // Work handed out by launches of even and of odd epochs: one begins at 0 because the launch before it cleared it.
  alignas(128) std::uint32_t tickets[2] = {};
};

/// Device memory, one per group and rank.
struct CudaGroupState {
  CudaKindState kinds[kCudaNumKinds];
  device::WaitState wait_state;
  alignas(128) std::uint64_t num_traced = 0;  // operations whose record was begun
  CudaWaitTable waits;

  /// Contents before the first operation; copy them to the device.
  [[nodiscard]] static CudaGroupState initial(std::uint64_t first_epoch);
};

using CudaOperation = device::Operation;
using CudaStage = device::Stage;
using CudaHostControl = device::HostControl;
using CudaWaitReport = device::WaitReport;
static_assert(kCudaMaxRanks <= device::kMaxPeers);

/// By value in every launch. All pointers are valid on the launching device. A rank that is no member is written
/// nothing and waited for by nobody: its words count as zeros, and no expert is on it.
struct CudaGroup {
  int rank = 0;
  int num_ranks = 0;
  std::uint64_t members = ~std::uint64_t{0};  // bit r: rank r
  std::byte* heaps[kCudaMaxRanks] = {};       // base of each member's heap as mapped here
  std::size_t control_offset = 0;             // of the control block in every heap; a multiple of 128
  CudaControlLayout control;
  CudaGroupState* state = nullptr;                // device memory
  const CudaHostControl* host_control = nullptr;  // pinned, device address
  CudaWaitReport* report = nullptr;               // pinned, device address
  CudaTraceRecord* trace = nullptr;               // pinned, device address [kCudaTraceRecords]; null: not traced

  [[nodiscard]] constexpr bool has(int member) const { return (members >> member & 1U) != 0; }
  /// A bit for each member but this rank.
  [[nodiscard]] constexpr std::uint64_t peers() const {
    constexpr std::uint64_t kAll = ~std::uint64_t{0};
    static_assert(kCudaMaxRanks == 64);
    return members & kAll >> (kCudaMaxRanks - num_ranks) & ~(std::uint64_t{1} << rank);
  }
};

}  // namespace railyard::throughput
