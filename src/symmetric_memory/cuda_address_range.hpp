// SPDX-License-Identifier: Apache-2.0
// Address space for memory of a GPU, and the physical memory that is mapped into it in steps.
#pragma once

#include <railyard/types.hpp>

#include <cuda.h>

#include <cstddef>
#include <string_view>
#include <vector>

namespace railyard::symmetric_memory {

/// Virtual memory management of the driver. Memory lives as long as somebody, in any process, has it mapped.
class CudaAddressRange {
 public:
  struct Step {
    std::size_t offset = 0;
    std::size_t bytes = 0;
    CUmemGenericAllocationHandle handle = 0;
  };

  /// Reserves `limit` bytes, for memory that each of `users` may read and write, shared by `handles`. Throws
  /// RY-OUT-OF-MEMORY, RY-UNSUPPORTED, naming `device`.
  CudaAddressRange(int device, std::size_t limit, std::vector<int> users, GpuHandles handles);
  ~CudaAddressRange();
  CudaAddressRange(const CudaAddressRange&) = delete;
  CudaAddressRange& operator=(const CudaAddressRange&) = delete;

  /// Maps `bytes` of `handle` behind what is mapped. Takes the handle, also when it throws.
  void append(CUmemGenericAllocationHandle handle, std::size_t bytes);

  [[nodiscard]] std::byte* base() const noexcept { return reinterpret_cast<std::byte*>(address_); }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
  [[nodiscard]] int device() const noexcept { return device_; }
  /// The end of what is mapped.
  [[nodiscard]] std::size_t mapped() const noexcept { return mapped_; }
  [[nodiscard]] const std::vector<Step>& steps() const noexcept { return steps_; }
  /// Sizes of steps are multiples of it.
  [[nodiscard]] std::size_t granularity() const noexcept { return granularity_; }

 private:
  int device_;
  std::size_t limit_;
  std::vector<int> users_;
  std::size_t granularity_ = 0;
  CUdeviceptr address_ = 0;
  std::size_t reserved_ = 0;
  std::size_t mapped_ = 0;
  std::vector<Step> steps_;
};

/// Memory of `device` that other processes can map by `handles`.
[[nodiscard]] CUmemAllocationProp cuda_heap_properties(int device, GpuHandles handles);

/// Throws unless `result` is CUDA_SUCCESS: RY-OUT-OF-MEMORY or RY-UNSUPPORTED.
void require_driver(CUresult result, int device, std::string_view what, std::size_t bytes);

}  // namespace railyard::symmetric_memory
