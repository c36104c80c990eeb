// SPDX-License-Identifier: Apache-2.0
#include "device/clock.cuh"
#include "device/cuda_ranks.hpp"

#include <cstdio>
#include <cstdlib>

namespace railyard::device_tests {
namespace {

__global__ void compare_kernel(const std::byte* a, const std::byte* b, std::size_t bytes, std::uint64_t* differences) {
  unsigned long long count = 0;
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < bytes; i += step) {
    count += a[i] != b[i];
  }
  if (count > 0) atomicAdd(reinterpret_cast<unsigned long long*>(differences), count);
}

__global__ void fill_kernel(std::byte* memory, std::byte value, std::size_t bytes) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < bytes; i += step) {
    memory[i] = value;
  }
}

__global__ void busy_kernel(std::uint64_t nanoseconds) {
  const std::uint64_t start = device::global_time_ns();
  while (device::global_time_ns() - start < nanoseconds) {
  }
}

}  // namespace

void require_cuda(cudaError_t error, const char* expression, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, expression, cudaGetErrorString(error));
  std::fflush(nullptr);
  std::_Exit(1);
}

void Arena::reserve(std::size_t bytes) {
  void* memory = nullptr;
  REQUIRE_CUDA(cudaMalloc(&memory, bytes));
  base_ = static_cast<std::byte*>(memory);
  bytes_ = bytes;
  used_ = 0;
}

void Arena::release() { REQUIRE_CUDA(cudaFree(base_)); }

std::byte* Arena::take(std::size_t bytes) {
  std::byte* const block = base_ + used_;
  used_ += throughput::round_up_bytes(bytes, 256);
  if (used_ > bytes_) {
    std::fprintf(stderr, "an arena of %zu bytes is too small for %zu\n", bytes_, used_);
    std::_Exit(1);
  }
  return block;
}

CudaRanks::CudaRanks(const CudaRanksOptions& options)
    : options_(options), ranks_(static_cast<std::size_t>(options.num_ranks)) {
  for (int a = 0; a < options.num_devices; ++a) {
    REQUIRE_CUDA(cudaSetDevice(a));
    for (int b = 0; b < options.num_devices; ++b) {
      if (a == b) continue;
      const cudaError_t error = cudaDeviceEnablePeerAccess(b, 0);
      if (error != cudaErrorPeerAccessAlreadyEnabled) REQUIRE_CUDA(error);
      static_cast<void>(cudaGetLastError());
    }
    static_cast<void>(throughput::prepare_kernels());
  }
  for (int r = 0; r < size(); ++r) {
    CudaRank& rank = (*this)[r];
    rank.device = r % options.num_devices;
    REQUIRE_CUDA(cudaSetDevice(rank.device));
    REQUIRE_CUDA(cudaStreamCreateWithFlags(&rank.stream, cudaStreamNonBlocking));
    rank.heap.reserve(options.heap_bytes);
    rank.local.reserve(options.local_bytes);
    REQUIRE_CUDA(cudaMemset(rank.heap.base(), 0, options.heap_bytes));
    REQUIRE_CUDA(cudaMemset(rank.local.base(), 0, options.local_bytes));
    void* pinned = nullptr;
    REQUIRE_CUDA(cudaHostAlloc(&pinned, sizeof(*rank.host_control), cudaHostAllocPortable));
    rank.host_control = new (pinned) throughput::CudaHostControl;
    REQUIRE_CUDA(cudaHostAlloc(&pinned, sizeof(*rank.report), cudaHostAllocPortable));
    rank.report = new (pinned) throughput::CudaWaitReport;
    void* state = nullptr;
    REQUIRE_CUDA(cudaMalloc(&state, sizeof(throughput::CudaGroupState)));
    throughput::CudaGroup& group = rank.group;
    group.rank = r;
    group.num_ranks = size();
    group.control = throughput::CudaControlLayout::of(size(), options.num_slots);
    group.state = static_cast<throughput::CudaGroupState*>(state);
    group.host_control = rank.host_control;
    group.report = rank.report;
  }
  for (int r = 0; r < size(); ++r) {
    for (int peer = 0; peer < size(); ++peer) (*this)[r].group.heaps[peer] = (*this)[peer].heap.base();
  }
  reset(options.first_epoch);
}

CudaRanks::~CudaRanks() {
  for (CudaRank& rank : ranks_) {
    REQUIRE_CUDA(cudaSetDevice(rank.device));
    REQUIRE_CUDA(cudaDeviceSynchronize());
    rank.heap.release();
    rank.local.release();
    REQUIRE_CUDA(cudaFree(rank.group.state));
    REQUIRE_CUDA(cudaFreeHost(rank.host_control));
    REQUIRE_CUDA(cudaFreeHost(rank.report));
    REQUIRE_CUDA(cudaStreamDestroy(rank.stream));
  }
}

void CudaRanks::reset(std::uint64_t first_epoch) {
  synchronize();
  clear_memory();
  for (CudaRank& rank : ranks_) {
    REQUIRE_CUDA(cudaSetDevice(rank.device));
    const std::vector<std::uint64_t> words = rank.group.control.initial_words(first_epoch);
    to_device(rank.heap.base(), words.data(), words.size() * sizeof(std::uint64_t));
    const auto state = throughput::CudaGroupState::initial(first_epoch);
    to_device(rank.group.state, &state, sizeof(state));
    *rank.host_control = {.timeout_ns = options_.timeout_ns};
    *rank.report = {};
  }
}

void CudaRanks::clear_memory() {
  for (CudaRank& rank : ranks_) {
    rank.heap.clear();
    rank.local.clear();
    static_cast<void>(rank.heap.take(rank.group.control.bytes));
  }
}

void CudaRanks::use(int rank) { REQUIRE_CUDA(cudaSetDevice((*this)[rank].device)); }

void CudaRanks::synchronize() {
  for (CudaRank& rank : ranks_) {
    REQUIRE_CUDA(cudaSetDevice(rank.device));
    REQUIRE_CUDA(cudaStreamSynchronize(rank.stream));
  }
}

int CudaRanks::max_blocks() const {
  int processors = 0;
  REQUIRE_CUDA(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  const int ranks_per_device = (options_.num_ranks + options_.num_devices - 1) / options_.num_devices;
  return processors / ranks_per_device;
}

void to_device(void* device, const void* host, std::size_t bytes) {
  if (bytes > 0) REQUIRE_CUDA(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
  REQUIRE_CUDA(cudaDeviceSynchronize());
}

void to_host(void* host, const void* device, std::size_t bytes) {
  if (bytes > 0) REQUIRE_CUDA(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
}

void count_differences(const std::byte* a, const std::byte* b, std::size_t bytes, std::uint64_t* differences,
                       cudaStream_t stream) {
  if (bytes == 0) return;
  const auto blocks = static_cast<unsigned>(std::min<std::size_t>((bytes + 1023) / 1024, 64));
  compare_kernel<<<blocks, 256, 0, stream>>>(a, b, bytes, differences);
  REQUIRE_CUDA(cudaGetLastError());
}

void fill(std::byte* memory, unsigned char value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return;
  const auto blocks = static_cast<unsigned>(std::min<std::size_t>((bytes + 1023) / 1024, 64));
  fill_kernel<<<blocks, 256, 0, stream>>>(memory, std::byte{value}, bytes);
  REQUIRE_CUDA(cudaGetLastError());
}

void busy(std::uint64_t nanoseconds, cudaStream_t stream) {
  busy_kernel<<<1, 1, 0, stream>>>(nanoseconds);
  REQUIRE_CUDA(cudaGetLastError());
}

}  // namespace railyard::device_tests
