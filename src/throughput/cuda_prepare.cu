// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_call.hpp"
#include "device/cuda_clock.hpp"
#include "device/cuda_read_back.hpp"
#include "throughput/cuda_dispatch_plan.hpp"
#include "throughput/cuda_expert_load.hpp"
#include "throughput/cuda_kernels.hpp"
#include "throughput/cuda_wait_reader.hpp"

#include <cuda_runtime.h>

#include <string>

namespace railyard::throughput {

using device::require_cuda;

namespace {

struct NamedKernel {
  const char* name;
  const void* kernel;
};

}  // namespace

std::vector<CudaKernelReport> prepare_kernels() {
  const NamedKernel kernels[] = {
      {"dispatch_copy", dispatch_kernel_of(CudaEncode::copy, false)},
      {"dispatch_copy, timed", dispatch_kernel_of(CudaEncode::copy, true)},
      {"dispatch_bf16_to_fp8_e4m3", dispatch_kernel_of(CudaEncode::bf16_to_fp8_e4m3, false)},
      {"dispatch_bf16_to_fp8_e4m3, timed", dispatch_kernel_of(CudaEncode::bf16_to_fp8_e4m3, true)},
      {"combine_bf16", combine_kernel_of(DType::bf16, false)},
      {"combine_bf16, timed", combine_kernel_of(DType::bf16, true)},
      {"combine_fp16", combine_kernel_of(DType::fp16, false)},
      {"combine_fp16, timed", combine_kernel_of(DType::fp16, true)},
      {"combine_fp32", combine_kernel_of(DType::fp32, false)},
      {"combine_fp32, timed", combine_kernel_of(DType::fp32, true)},
      {"expert_load", expert_load_kernel_address()},
      {"read_waits", read_waits_kernel_address()},
      {"read_back", device::read_back_kernel_address()},
      {"clock", device::clock_kernel_address()}};
  int device = 0;
  require_cuda(cudaGetDevice(&device), "the current device");
  int major = 0;
  int minor = 0;
  require_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "the device's capability");
  require_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "the device's capability");
  if (major < 9) {
    throw Error(ErrorCode::unsupported, "device " + std::to_string(device) + " has compute capability " +
                                            std::to_string(major) + "." + std::to_string(minor) +
                                            "; at least 9.0 is needed");
  }
  std::vector<CudaKernelReport> reports;
  for (const NamedKernel& entry : kernels) {
    require_cuda(
        cudaFuncSetAttribute(entry.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kSharedLimit)),
        entry.name);
    cudaFuncAttributes attributes{};
    require_cuda(cudaFuncGetAttributes(&attributes, entry.kernel), entry.name);
    reports.push_back({.name = entry.name,
                       .registers = attributes.numRegs,
                       .local_bytes = attributes.localSizeBytes,
                       .static_shared_bytes = attributes.sharedSizeBytes,
                       .max_dynamic_shared_bytes = static_cast<std::size_t>(attributes.maxDynamicSharedSizeBytes),
                       .binary_version = attributes.binaryVersion,
                       .from_ptx = attributes.binaryVersion != 90});
  }
  return reports;
}

void launch_kernel(const void* kernel, const void* params, int num_blocks, std::size_t shared_bytes, void* stream) {
  void* arguments[] = {const_cast<void*>(params)};
  require_cuda(cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(num_blocks)), dim3(kCudaThreads), arguments,
                                shared_bytes, static_cast<cudaStream_t>(stream)),
               "a kernel was not launched");
}

}  // namespace railyard::throughput
