// SPDX-License-Identifier: Apache-2.0
#include "topology/cuda_devices.hpp"

#include "device/cuda_call.hpp"
#include "device/cuda_driver.hpp"
#include "diagnostics/format.hpp"
#include "topology/cuda_requirements.hpp"

#include <railyard/error.hpp>

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>

namespace railyard::topology {
namespace {

using device::require_cuda;

// A driver runs programs of its own major release of CUDA, of any minor one from 12.4 on.
constexpr int kMinimumDriver = CUDART_VERSION >= 13000 ? CUDART_VERSION / 1000 * 1000 : 12040;
constexpr int kMinimumCapability = 9;

}  // namespace

void check_cuda_devices(const std::map<int, int>& ranks_on) {
  int driver = 0;
  require_cuda(cudaDriverGetVersion(&driver), "asking for the CUDA driver");
  check_driver(driver, kMinimumDriver);
  int count = 0;
  require_cuda(cudaGetDeviceCount(&count), "counting the GPUs");
  for (const auto& [device, ranks] : ranks_on) {
    if (device < 0 || device >= count) {
      throw Error(ErrorCode::invalid_argument,
                  diagnostics::format("device cuda:{}; this machine shows {}", device, count));
    }
    int major = 0;
    int minor = 0;
    require_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "the device's capability");
    require_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "the device's capability");
    if (major < kMinimumCapability) {
      throw Error(ErrorCode::unsupported,
                  diagnostics::format("device cuda:{} has compute capability {}.{}; at least {}.0 is needed", device,
                                      major, minor, kMinimumCapability));
    }
    check_device_connections(device, ranks, std::getenv("CUDA_DEVICE_MAX_CONNECTIONS"));
  }
}

CudaIdentity identity_of(int device) {
  cudaDeviceProp properties{};
  require_cuda(cudaGetDeviceProperties(&properties, device), "the properties of a GPU");
  CudaIdentity identity;
  std::copy_n(properties.uuid.bytes, identity.size(), identity.begin());
  return identity;
}

std::vector<int> visible_devices(const std::vector<CudaIdentity>& gpus) {
  int count = 0;
  require_cuda(cudaGetDeviceCount(&count), "counting the GPUs");
  std::vector<int> devices;
  for (int device = 0; device < count; ++device) {
    if (std::find(gpus.begin(), gpus.end(), identity_of(device)) != gpus.end()) devices.push_back(device);
  }
  return devices;
}

void check_peer_access(const std::vector<int>& devices) {
  for (const int from : devices) {
    for (const int to : devices) {
      if (from == to) continue;
      int access = 0;
      int atomics = 0;
      require_cuda(cudaDeviceCanAccessPeer(&access, from, to), "asking for peer access");
      require_cuda(cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, from, to),
                   "asking for atomics between GPUs");
      check_peer(from, to, access != 0, atomics != 0);
    }
  }
}

void use_cuda_device(int device) { require_cuda(cudaSetDevice(device), "using a device"); }

int available_sms(int index) {
  const device::CudaDriver& driver = device::cuda_driver();
  CUcontext context = nullptr;
  CUdevResource resource{};
  if (driver.context_resource && driver.current_context(&context) == CUDA_SUCCESS && context &&
      driver.context_resource(context, &resource, CU_DEV_RESOURCE_TYPE_SM) == CUDA_SUCCESS) {
    return static_cast<int>(resource.sm.smCount);
  }
  int count = 0;
  require_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, index), "counting SMs");
  return count;
}

}  // namespace railyard::topology
