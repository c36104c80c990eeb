// SPDX-License-Identifier: Apache-2.0
// Calls of the CUDA runtime by the host: errors, and the current device.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

namespace railyard::device {

/// Throws RY-OUT-OF-MEMORY or RY-UNSUPPORTED with `what` and CUDA's words unless `error` is cudaSuccess.
void require_cuda(cudaError_t error, std::string_view what);

/// Makes a device current in this thread for a scope, and lets the thread ask about events although a stream is being
/// captured somewhere. Never throws: a device that cannot be used says so at the next call.
class UseDevice {
 public:
  explicit UseDevice(int device) noexcept {
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = device;
    if (before_ != device) static_cast<void>(cudaSetDevice(device));
    device_ = device;
    static_cast<void>(cudaThreadExchangeStreamCaptureMode(&mode_));
  }
  ~UseDevice() {
    static_cast<void>(cudaThreadExchangeStreamCaptureMode(&mode_));
    if (before_ != device_) static_cast<void>(cudaSetDevice(before_));
  }
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;

 private:
  int before_ = 0;
  int device_ = 0;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

/// Whether work on this stream is being recorded into a graph.
[[nodiscard]] bool is_capturing(cudaStream_t stream) noexcept;

}  // namespace railyard::device
