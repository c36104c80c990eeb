// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_driver.hpp"

#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <cuda_runtime_api.h>

namespace railyard::device {
namespace {

// The oldest version that has all of these functions as they are used here.
constexpr unsigned kVersion = 12000;

template <typename Function>
void find(const char* symbol, Function& function) {
  find_in_driver(symbol, kVersion, function);
  if (!function)
    throw Error(ErrorCode::unsupported, diagnostics::format("the CUDA driver has no {}: update it", symbol));
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
  find("cuMemExportToShareableHandle", driver.export_handle);
  find("cuMemImportFromShareableHandle", driver.import_handle);
  find("cuDeviceGet", driver.device);
  find("cuDeviceGetAttribute", driver.device_attribute);
  find("cuGetErrorName", driver.error_name);
  find("cuCtxGetCurrent", driver.current_context);
  find("cuCtxGetDevice", driver.current_device);
  find("cuCtxPushCurrent", driver.push_context);
  find("cuCtxPopCurrent", driver.pop_context);
  find("cuStreamGetCtx", driver.context_of_stream);
  find_in_driver("cuCtxGetDevResource", 12040, driver.context_resource);
  return driver;
}

}  // namespace

void* address_in_driver(const char* symbol, [[maybe_unused]] unsigned version) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion(symbol, &address, version, cudaEnableDefault, &found);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(symbol, &address, cudaEnableDefault, &found);
#endif
  return error == cudaSuccess && found == cudaDriverEntryPointSuccess ? address : nullptr;
}

const CudaDriver& cuda_driver() {
  static const CudaDriver driver = load();
  return driver;
}

int device_of(CUstream stream) {
  const CudaDriver& driver = cuda_driver();
  const auto require = [&](CUresult result) {
    if (result == CUDA_SUCCESS) return;
    const char* name = nullptr;
    driver.error_name(result, &name);
    throw Error(ErrorCode::unsupported,
                diagnostics::format("asking a stream for its device: {}", name ? name : "an unknown error"));
  };
  CUcontext made_in = nullptr;
  CUcontext current = nullptr;
  CUdevice device = 0;
  require(driver.context_of_stream(stream, &made_in));
  require(driver.current_context(&current));
  if (made_in == current) {
    require(driver.current_device(&device));
    return device;
  }
  require(driver.push_context(made_in));
  const CUresult result = driver.current_device(&device);
  require(driver.pop_context(&current));
  require(result);
  return device;
}

}  // namespace railyard::device
