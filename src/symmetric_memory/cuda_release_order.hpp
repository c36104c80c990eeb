// SPDX-License-Identifier: Apache-2.0
// Marks in CUDA streams.
#pragma once

#include "device/cuda_event_pool.hpp"
#include "symmetric_memory/release_order.hpp"

namespace railyard::symmetric_memory {

class CudaReleaseOrder final : public ReleaseOrder {
 public:
  explicit CudaReleaseOrder(int device);
  [[nodiscard]] void* mark(Stream stream) noexcept override;
  [[nodiscard]] bool idle(Stream stream) noexcept override;
  [[nodiscard]] bool done(void* mark) noexcept override;
  void wait(Stream stream, void* mark) noexcept override;
  void recycle(void* mark) noexcept override;
  [[nodiscard]] bool capturing(Stream stream) noexcept override;
  void retire(std::unique_ptr<MemoryRegion> region, std::vector<void*> marks) noexcept override;

  /// Gives back the retired regions whose marks have passed.
  static void release_retired() noexcept;

 private:
  std::shared_ptr<device::CudaEventPool> events_;
};

}  // namespace railyard::symmetric_memory
