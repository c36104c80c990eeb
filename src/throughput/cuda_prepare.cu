// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_dispatch_plan.hpp"
#include "throughput/cuda_kernels.hpp"

#include <cuda_runtime.h>

#include <string>

namespace railyard::throughput {
namespace {

struct NamedKernel {
  const char* name;
  const void* kernel;
};

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  const ErrorCode code = error == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::unsupported;
  throw Error(code, std::string(what) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")");
}

}  // namespace

std::vector<CudaKernelReport> prepare_kernels() {
  const NamedKernel kernels[] = {{"dispatch_copy", dispatch_kernel_of(CudaEncode::copy)},
                                 {"dispatch_bf16_to_fp8_e4m3", dispatch_kernel_of(CudaEncode::bf16_to_fp8_e4m3)},
                                 {"combine_bf16", combine_kernel_of(DType::bf16)},
                                 {"combine_fp16", combine_kernel_of(DType::fp16)},
                                 {"combine_fp32", combine_kernel_of(DType::fp32)}};
  int device = 0;
  check(cudaGetDevice(&device), "the current device");
  int major = 0;
  int minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "the device's capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "the device's capability");
  if (major < 9) {
    throw Error(ErrorCode::unsupported, "device " + std::to_string(device) + " has compute capability " +
                                            std::to_string(major) + "." + std::to_string(minor) +
                                            "; at least 9.0 is needed");
  }
  std::vector<CudaKernelReport> reports;
  for (const NamedKernel& entry : kernels) {
    check(
        cudaFuncSetAttribute(entry.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kSharedLimit)),
        entry.name);
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, entry.kernel), entry.name);
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
  check(cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(num_blocks)), dim3(kCudaThreads), arguments, shared_bytes,
                         static_cast<cudaStream_t>(stream)),
        "a kernel was not launched");
}

}  // namespace railyard::throughput
