// SPDX-License-Identifier: Apache-2.0
// A memory region of a GPU, at one address on all devices that use it.
#pragma once

#include "symmetric_memory/memory_region.hpp"

#include <cuda.h>

#include <cstddef>
#include <vector>

namespace railyard::symmetric_memory {

/// Virtual memory management of the driver: an address range, and physical memory mapped into it in steps. Fresh memory
/// is not cleared.
class CudaRegion final : public MemoryRegion {
 public:
  /// Memory on `device`, which every one of `users` (with `device` itself) may read and write. Reserves `limit` bytes
  /// of address space. Throws RY-OUT-OF-MEMORY, RY-UNSUPPORTED.
  CudaRegion(int device, std::size_t limit, std::vector<int> users);
  ~CudaRegion() override;
  CudaRegion(const CudaRegion&) = delete;
  CudaRegion& operator=(const CudaRegion&) = delete;

  void commit(std::size_t bytes) override;
  [[nodiscard]] std::byte* base() const noexcept override { return reinterpret_cast<std::byte*>(address_); }
  [[nodiscard]] std::size_t limit() const noexcept override { return limit_; }

 private:
  struct Step {
    std::size_t offset = 0;
    std::size_t bytes = 0;
    CUmemGenericAllocationHandle handle = 0;
  };

  int device_;
  std::size_t limit_;
  std::vector<int> users_;
  std::size_t granularity_ = 0;
  CUdeviceptr address_ = 0;
  std::size_t reserved_ = 0;
  std::size_t committed_ = 0;
  std::vector<Step> steps_;
};

}  // namespace railyard::symmetric_memory
