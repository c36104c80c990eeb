// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_event_pool.hpp"

#include "device/cuda_call.hpp"

namespace railyard::device {

namespace {

constexpr int kEventsAtOnce = 512;

}  // namespace

cudaEvent_t CudaEventPool::create() noexcept {
  cudaEvent_t event = nullptr;
  if (cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess) return event;
  static_cast<void>(cudaGetLastError());
  return nullptr;
}

CudaEventPool::CudaEventPool(int device) : device_(device) {
  const UseDevice current(device);
  idle_.reserve(kEventsAtOnce);
  for (int i = 0; i < kEventsAtOnce; ++i) {
    if (cudaEvent_t const event = create()) idle_.push_back(event);
  }
}

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
  if (!event) event = create();
  if (!event) return nullptr;
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
