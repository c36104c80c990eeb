// SPDX-License-Identifier: Apache-2.0
// The functions of libcuda that the runtime does not have, found through the runtime: nothing links to the driver.
#pragma once

#include <cuda.h>

namespace railyard::device {

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
  decltype(&cuGetErrorName) error_name;
  decltype(&cuCtxGetCurrent) current_context;
  decltype(&cuCtxGetDevResource) context_resource;  // null before CUDA 12.4
};

/// Throws RY-UNSUPPORTED if the driver lacks one of them.
[[nodiscard]] const CudaDriver& cuda_driver();

}  // namespace railyard::device
