// SPDX-License-Identifier: Apache-2.0
// The functions of libcuda that the heap needs, found through the runtime: nothing links to the driver.
#pragma once

#include <cuda.h>

namespace railyard::symmetric_memory {

struct CudaDriver {
  decltype(&cuMemGetAllocationGranularity) granularity;
  decltype(&cuMemAddressReserve) reserve;
  decltype(&cuMemAddressFree) free_address;
  decltype(&cuMemCreate) create;
  decltype(&cuMemRelease) release;
  decltype(&cuMemMap) map;
  decltype(&cuMemUnmap) unmap;
  decltype(&cuMemSetAccess) set_access;
  decltype(&cuGetErrorName) error_name;
};

/// Throws RY-UNSUPPORTED if the driver lacks one of them.
[[nodiscard]] const CudaDriver& cuda_driver();

}  // namespace railyard::symmetric_memory
