// SPDX-License-Identifier: Apache-2.0
// WaitStatistics as the kernels of a group count them, in the group's device memory.
//
// Block 0 of each operation adds what it waited for every peer, when the operation ends, by additions and maxima that
// nobody waits for; operations of a group follow one another, so nobody else adds meanwhile. Kernels on other streams
// may read at any time: each word is whole, an operation that is just ending may be in some of its words only.
#pragma once

#include "device/wait_report.hpp"
#include "throughput/cuda_control_layout.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

struct CudaWaitTotals {
  std::uint64_t count = 0;
  std::uint64_t total_ns = 0;
  std::uint64_t longest_ns = 0;
};

struct CudaWaitTable {
  static constexpr std::size_t kStages = 3;
  /// Of one of the stages that wait.
  [[nodiscard]] static constexpr std::size_t index(device::Stage stage) {
    return static_cast<std::size_t>(stage) - static_cast<std::size_t>(device::Stage::exchange);
  }

  CudaWaitTotals all[kStages];
  CudaWaitTotals peers[kCudaMaxRanks][kStages];
};
static_assert(CudaWaitTable::index(device::Stage::readers) == CudaWaitTable::kStages - 1);

}  // namespace railyard::throughput
