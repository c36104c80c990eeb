// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_call.hpp"
#include "device/cuda_pinned_memory.hpp"
#include "device/memory.cuh"
#include "throughput/cuda_wait_reader.hpp"
#include "throughput/cuda_wait_statistics.hpp"

#include <cstdint>
#include <cstring>

namespace railyard::throughput {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWords = sizeof(CudaWaitTable) / sizeof(std::uint64_t);
static_assert(sizeof(CudaWaitTable) % sizeof(std::uint64_t) == 0);

/// One block. Words are read whole, whoever adds to them meanwhile.
__global__ void __launch_bounds__(kThreads) copy_table_kernel(const std::uint64_t* table, std::uint64_t* copy) {
  for (unsigned word = threadIdx.x; word < kWords; word += kThreads) {
    copy[word] = device::load_relaxed_device(table + word);
  }
}

}  // namespace

CudaWaitReader::CudaWaitReader(int num_ranks)
    : num_ranks_(num_ranks), copy_(device::take_pinned_memory(sizeof(CudaWaitTable))) {}

WaitStatistics CudaWaitReader::read(const CudaWaitTable* table) {
  void* copy = copy_.get();
  void* arguments[] = {&table, &copy};
  device::require_cuda(
      cudaLaunchKernel(copy_table_kernel_address(), dim3(1), dim3(kThreads), arguments, 0, stream_.get()),
      "reading wait statistics");
  device::require_cuda(cudaStreamSynchronize(stream_.get()), "reading wait statistics");
  CudaWaitTable content;
  std::memcpy(&content, copy, sizeof(content));
  WaitStatistics statistics = statistics_of(content, num_ranks_);
  add(statistics, earlier_);
  return statistics;
}

const void* copy_table_kernel_address() { return reinterpret_cast<const void*>(&copy_table_kernel); }

}  // namespace railyard::throughput
