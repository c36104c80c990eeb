// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_address_range.hpp"

#include "device/cuda_driver.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <utility>

namespace railyard::symmetric_memory {

using device::cuda_driver;
using device::CudaDriver;

void require_driver(CUresult result, int device, std::string_view what, std::size_t bytes) {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  cuda_driver().error_name(result, &name);
  const ErrorCode code = result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorCode::out_of_memory : ErrorCode::unsupported;
  throw Error(code, diagnostics::format("device cuda:{}: {} of {} bytes for a heap: {}", device, what, bytes,
                                        name ? name : "an unknown error"));
}

CUmemAllocationProp cuda_heap_properties(int device, GpuHandles handles) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  properties.requestedHandleTypes =
      handles == GpuHandles::fabric ? CU_MEM_HANDLE_TYPE_FABRIC : CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  return properties;
}

CudaAddressRange::CudaAddressRange(int device, std::size_t limit, std::vector<int> users, GpuHandles handles)
    : device_(device), limit_(limit), users_(std::move(users)) {
  const CudaDriver& driver = cuda_driver();
  const CUmemAllocationProp properties = cuda_heap_properties(device, handles);
  require_driver(driver.granularity(&granularity_, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED), device,
                 "asking for the granularity", limit);
  reserved_ = (std::max<std::size_t>(limit, 1) + granularity_ - 1) / granularity_ * granularity_;
  require_driver(driver.reserve(&address_, reserved_, 0, 0, 0), device, "reserving address space", reserved_);
}

CudaAddressRange::~CudaAddressRange() {
  const CudaDriver& driver = cuda_driver();
  for (const Step& step : steps_) {
    driver.unmap(address_ + step.offset, step.bytes);
    driver.release(step.handle);
  }
  driver.free_address(address_, reserved_);
}

void CudaAddressRange::append(CUmemGenericAllocationHandle handle, std::size_t bytes) {
  const CudaDriver& driver = cuda_driver();
  const Step step{.offset = mapped_, .bytes = bytes, .handle = handle};
  bool is_mapped = false;
  try {
    std::vector<CUmemAccessDesc> access;
    for (const int user : users_) {
      access.push_back(
          {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = user}, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE});
    }
    steps_.reserve(steps_.size() + 1);
    require_driver(driver.map(address_ + step.offset, bytes, 0, handle, 0), device_, "mapping", bytes);
    is_mapped = true;
    require_driver(driver.set_access(address_ + step.offset, bytes, access.data(), access.size()), device_,
                   "giving the group's devices access", bytes);
  } catch (...) {
    if (is_mapped) driver.unmap(address_ + step.offset, bytes);
    driver.release(handle);
    throw;
  }
  steps_.push_back(step);
  mapped_ += bytes;
}

}  // namespace railyard::symmetric_memory
