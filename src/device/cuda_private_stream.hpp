// SPDX-License-Identifier: Apache-2.0
// A stream of the library's own, for short kernels that wait for nobody.
#pragma once

#include "device/cuda_call.hpp"

namespace railyard::device {

/// On the device that is current at its creation. Ordered with nothing, the default stream included, and of the highest
/// priority: streams of one priority may share a queue of the device, where a kernel would stay behind another one that
/// waits for this rank.
class PrivateStream {
 public:
  PrivateStream() {
    int lowest = 0;
    int highest = 0;
    require_cuda(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "the priorities of streams");
    require_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest), "a stream of the library");
  }
  ~PrivateStream() { static_cast<void>(cudaStreamDestroy(stream_)); }
  PrivateStream(const PrivateStream&) = delete;
  PrivateStream& operator=(const PrivateStream&) = delete;

  [[nodiscard]] cudaStream_t get() const noexcept { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace railyard::device
