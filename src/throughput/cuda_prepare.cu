// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_call.hpp"
#include "device/cuda_clock.hpp"
#include "device/cuda_read_back.hpp"
#include "throughput/cuda_combine_plan.hpp"
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
  std::string name;
  const void* kernel;
};

void add_combine_kernels(std::vector<NamedKernel>& kernels, DType y_dtype, int plain_vectors) {
  std::string label = "combine_" + std::string(name(y_dtype));
  if (plain_vectors > 0) label += ", plain " + std::to_string(plain_vectors);
  kernels.push_back({label, combine_kernel_of(y_dtype, plain_vectors, false)});
  kernels.push_back({label + ", timed", combine_kernel_of(y_dtype, plain_vectors, true)});
}

std::vector<NamedKernel> all_kernels() {
  std::vector<NamedKernel> kernels = {
      {"dispatch_copy", dispatch_kernel_of(CudaEncode::copy, false)},
      {"dispatch_copy, timed", dispatch_kernel_of(CudaEncode::copy, true)},
      {"dispatch_bf16_to_fp8_e4m3", dispatch_kernel_of(CudaEncode::bf16_to_fp8_e4m3, false)},
      {"dispatch_bf16_to_fp8_e4m3, timed", dispatch_kernel_of(CudaEncode::bf16_to_fp8_e4m3, true)},
      {"expert_load", expert_load_kernel_address()},
      {"read_waits", read_waits_kernel_address()},
      {"read_back", device::read_back_kernel_address()},
      {"clock", device::clock_kernel_address()}};
  for (const DType y_dtype : {DType::bf16, DType::fp16}) {
    add_combine_kernels(kernels, y_dtype, 0);
    for (int vectors = kMinPlainVectors; vectors <= kVectorsPerLane; ++vectors) {
      add_combine_kernels(kernels, y_dtype, vectors);
    }
  }
  add_combine_kernels(kernels, DType::fp32, 0);
  return kernels;
}

}  // namespace

std::vector<CudaKernelReport> prepare_kernels() {
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
  for (const NamedKernel& entry : all_kernels()) {
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
