// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_region.hpp"

#include "device/cuda_driver.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <utility>

namespace railyard::symmetric_memory {
namespace {

using device::cuda_driver;
using device::CudaDriver;

std::size_t round_up(std::size_t value, std::size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

void require(CUresult result, int device, std::string_view what, std::size_t bytes) {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  cuda_driver().error_name(result, &name);
  const ErrorCode code = result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorCode::out_of_memory : ErrorCode::unsupported;
  throw Error(code, diagnostics::format("device cuda:{}: {} of {} bytes for a heap: {}", device, what, bytes,
                                        name ? name : "an unknown error"));
}

CUmemAllocationProp properties_of(int device) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  return properties;
}

}  // namespace

CudaRegion::CudaRegion(int device, std::size_t limit, std::vector<int> users)
    : device_(device), limit_(limit), users_(std::move(users)) {
  const CudaDriver& driver = cuda_driver();
  const CUmemAllocationProp properties = properties_of(device);
  require(driver.granularity(&granularity_, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED), device,
          "asking for the granularity", limit);
  reserved_ = round_up(std::max<std::size_t>(limit, 1), granularity_);
  require(driver.reserve(&address_, reserved_, 0, 0, 0), device, "reserving address space", reserved_);
}

CudaRegion::~CudaRegion() {
  const CudaDriver& driver = cuda_driver();
  for (const Step& step : steps_) {
    driver.unmap(address_ + step.offset, step.bytes);
    driver.release(step.handle);
  }
  driver.free_address(address_, reserved_);
}

void CudaRegion::commit(std::size_t bytes) {
  bytes = round_up(std::min(bytes, limit_), granularity_);  // the next step starts where this one ends
  if (bytes <= committed_) return;
  const CudaDriver& driver = cuda_driver();
  const CUmemAllocationProp properties = properties_of(device_);
  Step step{.offset = committed_, .bytes = bytes - committed_};
  require(driver.create(&step.handle, step.bytes, &properties, 0), device_, "allocating", step.bytes);
  std::vector<CUmemAccessDesc> access;
  for (const int user : users_) {
    access.push_back(
        {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = user}, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE});
  }
  bool mapped = false;
  try {
    steps_.reserve(steps_.size() + 1);
    require(driver.map(address_ + step.offset, step.bytes, 0, step.handle, 0), device_, "mapping", step.bytes);
    mapped = true;
    require(driver.set_access(address_ + step.offset, step.bytes, access.data(), access.size()), device_,
            "giving the group's devices access", step.bytes);
  } catch (...) {
    if (mapped) driver.unmap(address_ + step.offset, step.bytes);
    driver.release(step.handle);
    throw;
  }
  steps_.push_back(step);
  committed_ = bytes;
}

}  // namespace railyard::symmetric_memory
