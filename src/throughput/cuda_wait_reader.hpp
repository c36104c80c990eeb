// SPDX-License-Identifier: Apache-2.0
// The wait table of a group, read by the host while operations run.
#pragma once

#include "device/cuda_private_stream.hpp"
#include "throughput/cuda_wait_table.hpp"

#include <railyard/wait_statistics.hpp>

#include <cstdint>
#include <memory>

namespace railyard::throughput {

/// Of one group, used by one thread at a time; the device is current in every call.
class CudaWaitReader {
 public:
  /// On the current device. Throws RY-OUT-OF-MEMORY.
  explicit CudaWaitReader(int num_ranks);

  /// What operations that have ended have waited, and those before keep(); perhaps without one whose successor begins
  /// at this moment, which then adds it. `table`: device memory; `peers`:
  /// CudaGroup::peers. Waits as device::ReadBack for a kernel that waits for nobody. Throws RY-UNSUPPORTED with CUDA's
  /// words.
  [[nodiscard]] WaitStatistics read(CudaWaitTable* table, std::uint64_t peers);
  /// Later readings, of another table, have what this one holds: its memory goes.
  void keep(CudaWaitTable* table, std::uint64_t peers) { earlier_ = read(table, peers); }

 private:
  int num_ranks_;
  device::PrivateStream stream_;
  std::shared_ptr<void> copy_;  // pinned CudaWaitTable
  WaitStatistics earlier_;
};

[[nodiscard]] const void* read_waits_kernel_address();

}  // namespace railyard::throughput
