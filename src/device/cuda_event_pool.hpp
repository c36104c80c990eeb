// SPDX-License-Identifier: Apache-2.0
// Events of one device, used again and again: creating one may take a lock of the driver, or wait for the device.
#pragma once

#include <cuda_runtime_api.h>

#include <mutex>
#include <vector>

namespace railyard::device {

/// Thread-safe. Events without timing; the pool outlives those it handed out.
class CudaEventPool {
 public:
  /// Creates events for what is usually under way at once.
  explicit CudaEventPool(int device);
  ~CudaEventPool();
  CudaEventPool(const CudaEventPool&) = delete;
  CudaEventPool& operator=(const CudaEventPool&) = delete;

  [[nodiscard]] int device() const noexcept { return device_; }
  /// An event recorded on `stream` now; null if CUDA refused.
  [[nodiscard]] cudaEvent_t record(cudaStream_t stream) noexcept;
  void recycle(cudaEvent_t event) noexcept;

 private:
  [[nodiscard]] static cudaEvent_t create() noexcept;

  int device_;
  std::mutex mutex_;
  std::vector<cudaEvent_t> idle_;
};

}  // namespace railyard::device
