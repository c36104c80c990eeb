// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_region.hpp"

#include "device/cuda_driver.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>
#include <variant>

namespace railyard::symmetric_memory {

using device::cuda_driver;

namespace {

static_assert(sizeof(FabricHandle) == sizeof(CUmemFabricHandle));

bootstrap::FileDescriptor export_file(const CudaAddressRange::Step& step, int device) {
  int descriptor = -1;
  require_driver(cuda_driver().export_handle(&descriptor, step.handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
                 device, "exporting to other processes", step.bytes);
  return bootstrap::FileDescriptor(descriptor);
}

FabricHandle export_fabric(const CudaAddressRange::Step& step, int device) {
  CUmemFabricHandle exported{};
  require_driver(cuda_driver().export_handle(&exported, step.handle, CU_MEM_HANDLE_TYPE_FABRIC, 0), device,
                 "exporting a fabric handle", step.bytes);
  return std::bit_cast<FabricHandle>(exported);
}

CUmemGenericAllocationHandle import_memory(const SharedPart& part, int device) {
  CUmemGenericAllocationHandle memory = 0;
  if (const auto* const fabric = std::get_if<FabricHandle>(&part.handle)) {
    auto exported = std::bit_cast<CUmemFabricHandle>(*fabric);
    require_driver(cuda_driver().import_handle(&memory, &exported, CU_MEM_HANDLE_TYPE_FABRIC), device,
                   "importing a fabric handle (of a GPU of one NVLink domain, and the same IMEX channel)", part.bytes);
  } else {
    const auto descriptor = static_cast<std::uintptr_t>(std::get<bootstrap::FileDescriptor>(part.handle).get());
    require_driver(cuda_driver().import_handle(&memory, reinterpret_cast<void*>(descriptor),
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
                   device, "importing from another process", part.bytes);
  }
  return memory;
}

}  // namespace

CudaRegion::CudaRegion(int device, std::size_t limit, std::vector<int> users, GpuHandles handles)
    : handles_(handles), range_(device, limit, std::move(users), handles) {}

void CudaRegion::commit(std::size_t bytes) {
  const std::size_t granularity = range_.granularity();
  bytes = (std::min(bytes, limit()) + granularity - 1) / granularity * granularity;  // the next step starts there
  if (bytes <= range_.mapped()) return;
  const std::size_t step = bytes - range_.mapped();
  const CUmemAllocationProp properties = cuda_heap_properties(range_.device(), handles_);
  CUmemGenericAllocationHandle handle = 0;
  require_driver(cuda_driver().create(&handle, step, &properties, 0), range_.device(), "allocating", step);
  range_.append(handle, step);
}

std::vector<SharedPart> CudaRegion::share() const {
  std::vector<SharedPart> parts;
  for (const CudaAddressRange::Step& step : range_.steps()) {
    SharedPart& part = parts.emplace_back(SharedPart{.offset = step.offset, .bytes = step.bytes, .handle = {}});
    if (handles_ == GpuHandles::fabric) {
      part.handle = export_fabric(step, range_.device());
    } else {
      part.handle = export_file(step, range_.device());
    }
  }
  return parts;
}

void CudaPeerMapping::extend(const std::vector<SharedPart>& parts) {
  for (const SharedPart& part : parts) {
    if (part.offset < range_.mapped()) continue;
    range_.append(import_memory(part, range_.device()), part.bytes);
  }
}

}  // namespace railyard::symmetric_memory
