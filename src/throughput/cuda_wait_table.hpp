// SPDX-License-Identifier: Apache-2.0
// WaitStatistics as the kernels of a group count them, in the group's device memory.
//
// Additions at the end of an operation would be waited for by all. So block 0 only leaves its waits there, and the next
// operation of the kind adds them while it waits for its peers itself; or a reading does, which may come at any time on
// another stream. Whoever takes the epoch away adds: nothing is added twice, and counts and cycles never shrink. Times
// are cycles of SMs, which cost nothing to read; what dispatches take until their exchange, in both clocks, tells what
// a cycle is.
#pragma once

#include "device/wait_report.hpp"
#include "throughput/cuda_control_layout.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

struct CudaWaitTotals {
  std::uint64_t count = 0;
  std::uint64_t total = 0;    // cycles
  std::uint64_t longest = 0;  // cycles
};

/// The same time in two clocks, over all dispatches.
struct CudaClockRate {
  std::uint64_t ns = 0;
  std::uint64_t cycles = 0;
};

/// What the latest operation of a kind waited, until it is added.
struct CudaLeftWaits {
  enum Wait : int { exchange, last };  // `last`: for a peer's rows, or for it to have read
  static constexpr int kWaits = 2;
  std::uint64_t epoch = 0;  // of the operation; 0: there is none, or it is added
  /// Cycles as a float, below the low half of the epoch: whoever sees the one sees the other. Only of members.
  alignas(16) std::uint64_t waits[kCudaMaxRanks][kWaits] = {};
};

struct CudaWaitTable {
  static constexpr std::size_t kStages = 3;
  /// Of one of the stages that wait.
  [[nodiscard]] static constexpr std::size_t index(device::Stage stage) {
    return static_cast<std::size_t>(stage) - static_cast<std::size_t>(device::Stage::exchange);
  }

  CudaWaitTotals all[kStages];
  CudaWaitTotals peers[kCudaMaxRanks][kStages];
  CudaClockRate rate;
  alignas(128) CudaLeftWaits left[kCudaNumKinds];
};
static_assert(CudaWaitTable::index(device::Stage::readers) == CudaWaitTable::kStages - 1);

}  // namespace railyard::throughput
