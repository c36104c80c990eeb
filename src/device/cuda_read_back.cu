// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_call.hpp"
#include "device/cuda_read_back.hpp"
#include "device/memory.cuh"

#include <cstdint>

namespace railyard::device {
namespace {

constexpr unsigned kThreads = 256;

/// One block. Words are read whole, whoever writes them meanwhile.
__global__ void __launch_bounds__(kThreads)
    read_back_kernel(const std::uint64_t* memory, std::uint64_t* pinned, std::size_t num_words) {
  for (std::size_t word = threadIdx.x; word < num_words; word += kThreads) {
    pinned[word] = load_relaxed_device(memory + word);
  }
}

}  // namespace

void ReadBack::read(const void* memory, void* pinned, std::size_t bytes, const char* what) {
  std::size_t num_words = (bytes + 7) / 8;
  void* arguments[] = {&memory, &pinned, &num_words};
  require_cuda(cudaLaunchKernel(read_back_kernel_address(), dim3(1), dim3(kThreads), arguments, 0, stream_.get()),
               what);
  require_cuda(cudaStreamSynchronize(stream_.get()), what);
}

const void* read_back_kernel_address() { return reinterpret_cast<const void*>(&read_back_kernel); }

}  // namespace railyard::device
