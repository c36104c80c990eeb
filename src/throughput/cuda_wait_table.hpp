// SPDX-License-Identifier: Apache-2.0
// WaitStatistics as the kernels of a group count them, in the group's device memory.
//
// Block 0 of each operation adds what it waited for every peer, by additions and maxima that nobody waits for;
// operations of a group follow one another, so nobody else adds meanwhile. Times are cycles of SMs, which cost nothing
// to read; what dispatches take until their exchange, in both clocks, tells what a cycle is. Kernels on other streams
// may read at any time: each word is whole, an operation under way may be in some of its words only.
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

struct CudaWaitTable {
  static constexpr std::size_t kStages = 3;
  /// Of one of the stages that wait.
  [[nodiscard]] static constexpr std::size_t index(device::Stage stage) {
    return static_cast<std::size_t>(stage) - static_cast<std::size_t>(device::Stage::exchange);
  }

  CudaWaitTotals all[kStages];
  CudaWaitTotals peers[kCudaMaxRanks][kStages];
  CudaClockRate rate;
};
static_assert(CudaWaitTable::index(device::Stage::readers) == CudaWaitTable::kStages - 1);

}  // namespace railyard::throughput
