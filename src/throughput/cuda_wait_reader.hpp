// SPDX-License-Identifier: Apache-2.0
// The wait table of a group, read by the host while operations run.
#pragma once

#include "device/cuda_read_back.hpp"
#include "throughput/cuda_wait_table.hpp"

#include <railyard/wait_statistics.hpp>

#include <memory>

namespace railyard::throughput {

/// Of one group, used by one thread at a time; the device is current in every call.
class CudaWaitReader {
 public:
  /// On the current device. Throws RY-OUT-OF-MEMORY.
  explicit CudaWaitReader(int num_ranks);

  /// What operations that have ended have waited, and those before keep(). `table`: device memory. Throws as ReadBack.
  [[nodiscard]] WaitStatistics read(const CudaWaitTable* table);
  /// Later readings, of another table, have what this one holds: its memory goes.
  void keep(const CudaWaitTable* table) { earlier_ = read(table); }

 private:
  int num_ranks_;
  device::ReadBack read_back_;
  std::shared_ptr<void> copy_;  // pinned CudaWaitTable
  WaitStatistics earlier_;
};

}  // namespace railyard::throughput
