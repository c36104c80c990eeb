// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_call.hpp"
#include "throughput/cuda_expert_load.hpp"

#include <cuda_runtime.h>

namespace railyard::throughput {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    expert_load_kernel(std::int32_t* load, const std::int32_t* counts, int num) {
  constexpr std::int64_t kMost = 0x7FFFFFFF;
  for (int i = static_cast<int>(threadIdx.x); i < num; i += kThreads) {
    const std::int64_t sum = std::int64_t{load[i]} + counts[i];
    load[i] = static_cast<std::int32_t>(sum < kMost ? sum : kMost);
  }
}

}  // namespace

void add_expert_load(std::int32_t* load, const std::int32_t* counts, int num_experts, void* stream) {
  expert_load_kernel<<<1, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(load, counts, num_experts);
  device::require_cuda(cudaGetLastError(), "adding up the expert load");
}

}  // namespace railyard::throughput
