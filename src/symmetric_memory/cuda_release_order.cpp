// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_release_order.hpp"

#include "device/cuda_call.hpp"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <utility>

namespace railyard::symmetric_memory {
namespace {

cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }
cudaEvent_t event_of(void* mark) { return static_cast<cudaEvent_t>(mark); }

struct Retired {
  std::unique_ptr<MemoryRegion> region;
  std::vector<void*> marks;
  std::shared_ptr<device::CudaEventPool> events;

  [[nodiscard]] bool over() const {
    const device::UseDevice current(events->device());
    return std::all_of(marks.begin(), marks.end(),
                       [](void* mark) { return mark && cudaEventQuery(event_of(mark)) != cudaErrorNotReady; });
  }
};

struct RetiredRegions {
  std::mutex mutex;
  std::vector<Retired> regions;
};

RetiredRegions& retired() {
  static auto* const list = new RetiredRegions;  // never destroyed: CUDA may end first
  return *list;
}

}  // namespace

CudaReleaseOrder::CudaReleaseOrder(int device) : events_(std::make_shared<device::CudaEventPool>(device)) {}

void* CudaReleaseOrder::mark(Stream stream) noexcept {
  const device::UseDevice current(events_->device());
  return device::is_capturing(stream_of(stream)) ? nullptr : events_->record(stream_of(stream));
}

bool CudaReleaseOrder::idle(Stream stream) noexcept {
  const device::UseDevice current(events_->device());
  if (device::is_capturing(stream_of(stream))) return false;
  const cudaError_t error = cudaStreamQuery(stream_of(stream));
  if (error != cudaErrorNotReady) static_cast<void>(cudaGetLastError());  // a device that failed has no work left
  return error != cudaErrorNotReady;
}

bool CudaReleaseOrder::done(void* mark) noexcept {
  const device::UseDevice current(events_->device());
  return cudaEventQuery(event_of(mark)) != cudaErrorNotReady;
}

void CudaReleaseOrder::wait(Stream stream, void* mark) noexcept {
  const device::UseDevice current(events_->device());
  static_cast<void>(cudaStreamWaitEvent(stream_of(stream), event_of(mark), 0));
}

void CudaReleaseOrder::recycle(void* mark) noexcept { events_->recycle(event_of(mark)); }

bool CudaReleaseOrder::capturing(Stream stream) noexcept {
  const device::UseDevice current(events_->device());
  return device::is_capturing(stream_of(stream));
}

void CudaReleaseOrder::retire(std::unique_ptr<MemoryRegion> region, std::vector<void*> marks) noexcept {
  const std::lock_guard lock(retired().mutex);
  retired().regions.push_back({std::move(region), std::move(marks), events_});
}

void CudaReleaseOrder::release_retired() noexcept {
  std::vector<Retired> over;  // destroyed after the lock
  {
    const std::lock_guard lock(retired().mutex);
    std::vector<Retired>& regions = retired().regions;
    const auto first = std::partition(regions.begin(), regions.end(), [](const Retired& one) { return !one.over(); });
    std::move(first, regions.end(), std::back_inserter(over));
    regions.erase(first, regions.end());
  }
  for (Retired& one : over) {
    for (void* mark : one.marks) one.events->recycle(event_of(mark));
  }
}

}  // namespace railyard::symmetric_memory
