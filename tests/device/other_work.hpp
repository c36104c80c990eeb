// SPDX-License-Identifier: Apache-2.0
// What a program does on a GPU beside its ranks: small copies and launches, and how long they take.
#pragma once

#include "device/cuda_ranks.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace railyard::device_tests {

/// On the device that is current at its creation, on a stream of its own.
class OtherWork {
 public:
  enum class Kind { word_to_host, word_from_host, pageable_to_host, kernel };
  static constexpr std::size_t kPageableBytes = std::size_t{64} << 10;

  OtherWork() : pageable_(kPageableBytes) {
    REQUIRE_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    REQUIRE_CUDA(cudaMalloc(&device_, kPageableBytes));
    REQUIRE_CUDA(cudaHostAlloc(&pinned_, kWord, cudaHostAllocDefault));
  }
  ~OtherWork() {
    static_cast<void>(cudaFreeHost(pinned_));
    static_cast<void>(cudaFree(device_));
    static_cast<void>(cudaStreamDestroy(stream_));
  }
  OtherWork(const OtherWork&) = delete;
  OtherWork& operator=(const OtherWork&) = delete;

  /// Median over `repetitions` of one piece of work with the wait for its end, microseconds.
  double median_us(Kind kind, int repetitions = 201) {
    std::vector<double> times(static_cast<std::size_t>(repetitions));
    for (double& time : times) {
      const auto start = std::chrono::steady_clock::now();
      submit(kind);
      REQUIRE_CUDA(cudaStreamSynchronize(stream_));
      time = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    }
    const auto middle = times.begin() + repetitions / 2;
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
  }

 private:
  static constexpr std::size_t kWord = 8;

  void submit(Kind kind) {
    switch (kind) {
      case Kind::word_to_host:
        REQUIRE_CUDA(cudaMemcpyAsync(pinned_, device_, kWord, cudaMemcpyDeviceToHost, stream_));
        break;
      case Kind::word_from_host:
        REQUIRE_CUDA(cudaMemcpyAsync(device_, pinned_, kWord, cudaMemcpyHostToDevice, stream_));
        break;
      case Kind::pageable_to_host:
        REQUIRE_CUDA(cudaMemcpyAsync(pageable_.data(), device_, kPageableBytes, cudaMemcpyDeviceToHost, stream_));
        break;
      case Kind::kernel:
        busy(0, stream_);
        break;
    }
  }

  cudaStream_t stream_ = nullptr;
  void* device_ = nullptr;
  void* pinned_ = nullptr;
  std::vector<std::byte> pageable_;
};

}  // namespace railyard::device_tests
