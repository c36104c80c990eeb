// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_call.hpp"
#include "throughput/cuda_expert_load.hpp"

#include <cuda_runtime.h>

namespace railyard::throughput {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    expert_load_kernel(std::int32_t* load, const std::int32_t* counts, int num, const CudaDispatchResult* result) {
  if (result->wait_code != 0) return;
  constexpr std::int64_t kMost = 0x7FFFFFFF;
  for (int i = static_cast<int>(threadIdx.x); i < num; i += kThreads) {
    const std::int64_t sum = std::int64_t{load[i]} + counts[i];
    load[i] = static_cast<std::int32_t>(sum < kMost ? sum : kMost);
  }
}

}  // namespace

void add_expert_load(std::int32_t* load, const std::int32_t* counts, int num_experts, const CudaDispatchResult* result,
                     void* stream) {
  void* arguments[] = {&load, &counts, &num_experts, &result};
  device::require_cuda(cudaLaunchKernel(expert_load_kernel_address(), dim3(1), dim3(kThreads), arguments, 0,
                                        static_cast<cudaStream_t>(stream)),
                       "adding up the expert load");
}

const void* expert_load_kernel_address() { return reinterpret_cast<const void*>(&expert_load_kernel); }

}  // namespace railyard::throughput
