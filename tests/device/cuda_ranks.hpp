// SPDX-License-Identifier: Apache-2.0
// Ranks for tests and benchmarks of the CUDA kernels alone: heaps by cudaMalloc with peer access, one stream per rank,
// any number of ranks per GPU, all driven by one host thread (launches are asynchronous).
#pragma once

#include "throughput/cuda_launch.hpp"

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace railyard::device_tests {

/// Ends the program with CUDA's words: nothing that follows would mean anything.
void require_cuda(cudaError_t error, const char* expression, const char* file, int line);
#define REQUIRE_CUDA(expression) ::railyard::device_tests::require_cuda((expression), #expression, __FILE__, __LINE__)

/// A bump allocator over one device allocation. Blocks start at multiples of 256.
class Arena {
 public:
  void reserve(std::size_t bytes);
  void release();
  void clear() { used_ = 0; }
  /// Ends the program when it is full.
  [[nodiscard]] std::byte* take(std::size_t bytes);
  template <class T>
  [[nodiscard]] T* take_array(std::size_t count) {
    return reinterpret_cast<T*>(take(count * sizeof(T)));
  }
  [[nodiscard]] std::byte* base() const { return base_; }
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t used_ = 0;
};

struct CudaRank {
  int device = 0;
  cudaStream_t stream = nullptr;
  Arena heap;   // mapped by all ranks; starts with the control block
  Arena local;  // this rank's own
  throughput::CudaGroup group;
  throughput::CudaHostControl* host_control = nullptr;
  throughput::CudaWaitReport* report = nullptr;
};

struct CudaRanksOptions {
  int num_ranks = 2;
  int num_devices = 1;  // rank r is on device r % num_devices
  int num_slots = 2;
  std::size_t heap_bytes = std::size_t{256} << 20;
  std::size_t local_bytes = std::size_t{256} << 20;
  std::uint64_t first_epoch = 0;
  std::uint64_t timeout_ns = 2'000'000'000;
};

class CudaRanks {
 public:
  explicit CudaRanks(const CudaRanksOptions& options);
  ~CudaRanks();
  CudaRanks(const CudaRanks&) = delete;
  CudaRanks& operator=(const CudaRanks&) = delete;

  [[nodiscard]] int size() const { return static_cast<int>(ranks_.size()); }
  [[nodiscard]] CudaRank& operator[](int rank) { return ranks_[static_cast<std::size_t>(rank)]; }
  /// A new group over the same memory: state and control as before the first operation.
  void reset(std::uint64_t first_epoch);
  /// Frees everything but the control blocks.
  void clear_memory();
  /// Makes the rank's device current.
  void use(int rank);
  void synchronize();
  /// Blocks per rank that fit on a device together with the other ranks there.
  [[nodiscard]] int max_blocks() const;

 private:
  CudaRanksOptions options_;
  std::vector<CudaRank> ranks_;
};

/// Copies to and from the current device, complete when they return.
void to_device(void* device, const void* host, std::size_t bytes);
void to_host(void* host, const void* device, std::size_t bytes);

/// Compares device memory and adds the number of differing bytes to `*differences` (device memory). Asynchronous.
void count_differences(const std::byte* a, const std::byte* b, std::size_t bytes, std::uint64_t* differences,
                       cudaStream_t stream);
/// What cudaMemset does, always by a kernel. Asynchronous.
void fill(std::byte* memory, unsigned char value, std::size_t bytes, cudaStream_t stream);
/// Keeps the stream busy for about this long.
void busy(std::uint64_t nanoseconds, cudaStream_t stream);

}  // namespace railyard::device_tests
