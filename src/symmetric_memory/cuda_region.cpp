// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_region.hpp"

#include "device/cuda_driver.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace railyard::symmetric_memory {

using device::cuda_driver;

CudaRegion::CudaRegion(int device, std::size_t limit, std::vector<int> users)
    : range_(device, limit, std::move(users)) {}

void CudaRegion::commit(std::size_t bytes) {
  const std::size_t granularity = range_.granularity();
  bytes = (std::min(bytes, limit()) + granularity - 1) / granularity * granularity;  // the next step starts there
  if (bytes <= range_.mapped()) return;
  const std::size_t step = bytes - range_.mapped();
  const CUmemAllocationProp properties = cuda_heap_properties(range_.device());
  CUmemGenericAllocationHandle handle = 0;
  require_driver(cuda_driver().create(&handle, step, &properties, 0), range_.device(), "allocating", step);
  range_.append(handle, step);
}

std::vector<SharedPart> CudaRegion::share() const {
  std::vector<SharedPart> parts;
  for (const CudaAddressRange::Step& step : range_.steps()) {
    int descriptor = -1;
    require_driver(cuda_driver().export_handle(&descriptor, step.handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
                   range_.device(), "exporting to other processes", step.bytes);
    parts.push_back({.offset = step.offset, .bytes = step.bytes, .file = bootstrap::FileDescriptor(descriptor)});
  }
  return parts;
}

void CudaPeerMapping::extend(const std::vector<SharedPart>& parts) {
  for (const SharedPart& part : parts) {
    if (part.offset < range_.mapped()) continue;
    CUmemGenericAllocationHandle handle = 0;
    const auto descriptor = static_cast<std::uintptr_t>(part.file.get());
    require_driver(cuda_driver().import_handle(&handle, reinterpret_cast<void*>(descriptor),
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
                   range_.device(), "importing from another process", part.bytes);
    range_.append(handle, part.bytes);
  }
}

}  // namespace railyard::symmetric_memory
