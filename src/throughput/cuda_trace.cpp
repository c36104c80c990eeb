// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_trace.hpp"

#include "device/cuda_clock.hpp"
#include "device/cuda_pinned_memory.hpp"
#include "device/cuda_private_stream.hpp"
#include "diagnostics/format.hpp"
#include "throughput/cuda_trace_events.hpp"

#include <exception>
#include <new>
#include <utility>

namespace railyard::throughput {

CudaTrace::CudaTrace(std::shared_ptr<diagnostics::TraceTrack> track, std::shared_ptr<diagnostics::Log> log, int rank)
    : track_(std::move(track)), log_(std::move(log)), rank_(rank) {
  const device::PrivateStream stream;
  begin_ = device::compare_clocks(stream.get());
  if (!begin_) {
    log_->write(LogLevel::warn, diagnostics::format("rank {}: the GPU did not say its time within 200 ms; operations "
                                                    "of this group are not in the trace",
                                                    rank_));
    return;
  }
  make_ring();
}

void CudaTrace::make_ring() {
  const std::shared_ptr<void> memory = device::take_pinned_memory(kCudaTraceRecords * sizeof(CudaTraceRecord));
  auto* const records = static_cast<CudaTraceRecord*>(memory.get());
  for (std::size_t i = 0; i < kCudaTraceRecords; ++i) new (records + i) CudaTraceRecord;
  records_ = {memory, records};
  ring_.emplace(std::span(records, kCudaTraceRecords));
}

void CudaTrace::renew() {
  if (!ring_) return;
  drain();
  make_ring();
}

void CudaTrace::drain() {
  if (!ring_) return;
  lost_ += ring_->drain([&](const CudaTraceRecord& record) {
    const CudaTraceEvents list = events_of(record);
    for (std::size_t i = 0; i < list.size; ++i) track_->add(list.events[i]);
  });
}

void CudaTrace::finish() noexcept {
  if (!ring_) return;
  try {
    drain();
    std::optional<device::ClockPair> end;
    try {
      const device::PrivateStream stream;
      end = device::compare_clocks(stream.get());
    } catch (const std::exception&) {  // the device has failed, or CUDA has ended
    }
    const device::ClockMap clock(*begin_, end.value_or(*begin_));
    track_->map_times([&](std::int64_t device_ns) { return clock.to_host(device_ns); });
    if (!end) {
      log_->write(LogLevel::warn, diagnostics::format("rank {}: the GPU did not say its time again; in the trace its "
                                                      "operations drift from those of others",
                                                      rank_));
    }
    if (lost_ > 0) {
      log_->write(LogLevel::warn,
                  diagnostics::format("rank {}: {} operations are not in the trace: more than {} ended between two "
                                      "calls of their group, which take what the GPU has told",
                                      rank_, lost_, kCudaTraceRecords));
    }
  } catch (const std::exception&) {  // no memory for a message
  }
}

}  // namespace railyard::throughput
