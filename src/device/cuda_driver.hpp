// SPDX-License-Identifier: Apache-2.0
// The functions of libcuda that the runtime does not have, found through the runtime: nothing links to the driver.
#pragma once

#include <cuda.h>

namespace railyard::device {

/// The function as of this version of CUDA (12040: 12.4); null for a driver that has none.
[[nodiscard]] void* address_in_driver(const char* symbol, unsigned version);

template <typename Function>
void find_in_driver(const char* symbol, unsigned version, Function& function) {
  function = reinterpret_cast<Function>(address_in_driver(symbol, version));
}

struct CudaDriver {
  decltype(&cuMemGetAllocationGranularity) granularity;
  decltype(&cuMemAddressReserve) reserve;
  decltype(&cuMemAddressFree) free_address;
  decltype(&cuMemCreate) create;
  decltype(&cuMemRelease) release;
  decltype(&cuMemMap) map;
  decltype(&cuMemUnmap) unmap;
  decltype(&cuMemSetAccess) set_access;
  decltype(&cuMemExportToShareableHandle) export_handle;
  decltype(&cuMemImportFromShareableHandle) import_handle;
  decltype(&cuDeviceGet) device;
  decltype(&cuDeviceGetAttribute) device_attribute;
  decltype(&cuGetErrorName) error_name;
  decltype(&cuCtxGetCurrent) current_context;
  decltype(&cuCtxGetDevice) current_device;
  decltype(&cuCtxPushCurrent) push_context;
  decltype(&cuCtxPopCurrent) pop_context;
  decltype(&cuStreamGetCtx) context_of_stream;
  decltype(&cuCtxGetDevResource) context_resource;  // null before CUDA 12.4
};

/// Throws RY-UNSUPPORTED if the driver lacks one of them.
[[nodiscard]] const CudaDriver& cuda_driver();

/// The device that a stream was made on; it must not be captured. Throws RY-UNSUPPORTED with what the driver says. The
/// runtime answers this itself since CUDA 12.8.
[[nodiscard]] int device_of(CUstream stream);

}  // namespace railyard::device
