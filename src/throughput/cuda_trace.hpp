// SPDX-License-Identifier: Apache-2.0
// RAILYARD_TRACE for a group on a GPU: from its kernels' records to its rows in the trace.
#pragma once

#include "device/clock_map.hpp"
#include "diagnostics/log.hpp"
#include "diagnostics/trace.hpp"
#include "throughput/cuda_trace_ring.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace railyard::throughput {

/// Used by one thread at a time; the device is current in every call. Destroyed without finish() it leaves events with
/// the device's times in the track.
class CudaTrace {
 public:
  /// On the current device, whose clock it reads. A device that does not answer is logged, and not traced. Throws
  /// RY-OUT-OF-MEMORY. `track` has cuda_trace_rows().
  CudaTrace(std::shared_ptr<diagnostics::TraceTrack> track, std::shared_ptr<diagnostics::Log> log, int rank);

  /// For CudaGroup::trace, kept alive by whatever launches with it; null: not traced.
  [[nodiscard]] const std::shared_ptr<CudaTraceRecord>& records() const noexcept { return records_; }

  /// Takes what operations that have ended have told; called often enough, nothing is overwritten. Never waits.
  void drain();
  /// For operations whose CudaGroupState is new, and counts from 1 again: drains, and makes other records().
  void renew();
  /// The last call: also reads the clock again, since it drifts, and puts all events on the host's.
  void finish() noexcept;

 private:
  void make_ring();

  std::shared_ptr<diagnostics::TraceTrack> track_;
  std::shared_ptr<diagnostics::Log> log_;
  int rank_;
  std::optional<device::ClockPair> begin_;
  std::shared_ptr<CudaTraceRecord> records_;  // pinned [kCudaTraceRecords]
  std::optional<CudaTraceRing> ring_;
  std::uint64_t lost_ = 0;
};

}  // namespace railyard::throughput
