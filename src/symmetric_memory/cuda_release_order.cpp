// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_release_order.hpp"

#include "device/cuda_call.hpp"

namespace railyard::symmetric_memory {
namespace {

cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }
cudaEvent_t event_of(void* mark) { return static_cast<cudaEvent_t>(mark); }

}  // namespace

void* CudaReleaseOrder::mark(Stream stream) noexcept {
  const device::UseDevice current(events_.device());
  return device::is_capturing(stream_of(stream)) ? nullptr : events_.record(stream_of(stream));
}

bool CudaReleaseOrder::idle(Stream stream) noexcept {
  const device::UseDevice current(events_.device());
  return !device::is_capturing(stream_of(stream)) && cudaStreamQuery(stream_of(stream)) == cudaSuccess;
}

bool CudaReleaseOrder::done(void* mark) noexcept {
  const device::UseDevice current(events_.device());
  return cudaEventQuery(event_of(mark)) != cudaErrorNotReady;
}

void CudaReleaseOrder::wait(Stream stream, void* mark) noexcept {
  const device::UseDevice current(events_.device());
  static_cast<void>(cudaStreamWaitEvent(stream_of(stream), event_of(mark), 0));
}

void CudaReleaseOrder::synchronize(void* mark) noexcept {
  const device::UseDevice current(events_.device());
  static_cast<void>(cudaEventSynchronize(event_of(mark)));
}

void CudaReleaseOrder::recycle(void* mark) noexcept { events_.recycle(event_of(mark)); }

bool CudaReleaseOrder::capturing(Stream stream) noexcept {
  const device::UseDevice current(events_.device());
  return device::is_capturing(stream_of(stream));
}

}  // namespace railyard::symmetric_memory
