// SPDX-License-Identifier: Apache-2.0
// The host's end of a ring of trace records: reads what is whole, while a device writes.
#pragma once

#include "throughput/cuda_trace_record.hpp"

#include <cstdint>
#include <functional>
#include <span>

namespace railyard::throughput {

/// Used by one thread at a time. Records are numbered from 1; number n is at (n - 1) % size.
class CudaTraceRing {
 public:
  /// `records` are cleared, and outlive the ring.
  explicit CudaTraceRing(std::span<CudaTraceRecord> records) noexcept : records_(records) {}

  /// Gives `take` each record that has become whole since the last call, in their order. Returns how many were
  /// overwritten before they could be read.
  std::uint64_t drain(const std::function<void(const CudaTraceRecord&)>& take);

 private:
  std::span<CudaTraceRecord> records_;
  std::uint64_t next_ = 1;
};

}  // namespace railyard::throughput
