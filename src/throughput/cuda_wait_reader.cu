// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_wait_reader.hpp"

#include "device/cuda_call.hpp"
#include "device/cuda_pinned_memory.hpp"
#include "throughput/cuda_left_waits.cuh"
#include "throughput/cuda_wait_statistics.hpp"

#include <cuda_runtime.h>

#include <cstring>

namespace railyard::throughput {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kWords = sizeof(CudaWaitTable) / sizeof(std::uint64_t);
static_assert(sizeof(CudaWaitTable) % sizeof(std::uint64_t) == 0);

/// One block, beside operations: a warp for each kind adds what was left; then words are read whole, whoever writes
/// them meanwhile.
__global__ void __launch_bounds__(kThreads)
    read_waits_kernel(CudaWaitTable* table, std::uint64_t peers, std::uint64_t* pinned) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp < kCudaNumKinds) add_left_waits_beside(*table, static_cast<CudaKind>(warp), peers);
  device::fence_acquire_release_device();
  __syncthreads();
  const auto* const words = reinterpret_cast<const std::uint64_t*>(table);
  for (std::size_t word = threadIdx.x; word < kWords; word += kThreads) {
    pinned[word] = device::load_relaxed_device(words + word);
  }
}

}  // namespace

CudaWaitReader::CudaWaitReader(int num_ranks)
    : num_ranks_(num_ranks), copy_(device::take_pinned_memory(sizeof(CudaWaitTable))) {}

WaitStatistics CudaWaitReader::read(CudaWaitTable* table, std::uint64_t peers) {
  constexpr auto kWhat = "reading wait statistics";
  void* pinned = copy_.get();
  void* arguments[] = {&table, &peers, &pinned};
  device::require_cuda(
      cudaLaunchKernel(read_waits_kernel_address(), dim3(1), dim3(kThreads), arguments, 0, stream_.get()), kWhat);
  device::require_cuda(cudaStreamSynchronize(stream_.get()), kWhat);
  CudaWaitTable content;
  std::memcpy(&content, pinned, sizeof(content));
  WaitStatistics statistics = statistics_of(content, num_ranks_);
  add(statistics, earlier_);
  return statistics;
}

const void* read_waits_kernel_address() { return reinterpret_cast<const void*>(&read_waits_kernel); }

}  // namespace railyard::throughput
