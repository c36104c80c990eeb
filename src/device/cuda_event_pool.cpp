// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_event_pool.hpp"

#include "device/cuda_call.hpp"

namespace railyard::device {

CudaEventPool::~CudaEventPool() {
  for (cudaEvent_t event : idle_) static_cast<void>(cudaEventDestroy(event));
}

cudaEvent_t CudaEventPool::record(cudaStream_t stream) noexcept {
  const UseDevice current(device_);  // the default stream is that of the current device
  cudaEvent_t event = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      event = idle_.back();
      idle_.pop_back();
    }
  }
  if (!event && cudaEventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess) return nullptr;
  if (cudaEventRecord(event, stream) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    recycle(event);
    return nullptr;
  }
  return event;
}

void CudaEventPool::recycle(cudaEvent_t event) noexcept {
  const std::lock_guard lock(mutex_);
  idle_.push_back(event);
}

}  // namespace railyard::device
