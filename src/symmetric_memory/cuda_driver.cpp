// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_driver.hpp"

#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <cuda_runtime_api.h>

namespace railyard::symmetric_memory {
namespace {

// The oldest version that has all of these functions as they are used here.
[[maybe_unused]] constexpr unsigned kVersion = 12000;

template <typename Function>
void find(const char* symbol, Function& function) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion(symbol, &address, kVersion, cudaEnableDefault, &found);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(symbol, &address, cudaEnableDefault, &found);
#endif
  device::require_cuda(error, symbol);
  if (found != cudaDriverEntryPointSuccess || !address) {
    throw Error(ErrorCode::unsupported, diagnostics::format("the CUDA driver has no {}: update it", symbol));
  }
  function = reinterpret_cast<Function>(address);
}

CudaDriver load() {
  CudaDriver driver{};
  find("cuMemGetAllocationGranularity", driver.granularity);
  find("cuMemAddressReserve", driver.reserve);
  find("cuMemAddressFree", driver.free_address);
  find("cuMemCreate", driver.create);
  find("cuMemRelease", driver.release);
  find("cuMemMap", driver.map);
  find("cuMemUnmap", driver.unmap);
  find("cuMemSetAccess", driver.set_access);
  find("cuGetErrorName", driver.error_name);
  return driver;
}

}  // namespace

const CudaDriver& cuda_driver() {
  static const CudaDriver driver = load();
  return driver;
}

}  // namespace railyard::symmetric_memory
