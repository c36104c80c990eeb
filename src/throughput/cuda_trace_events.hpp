// SPDX-License-Identifier: Apache-2.0
// Events of a trace from what a kernel tells of its operation.
#pragma once

#include "diagnostics/trace.hpp"
#include "throughput/cuda_trace_record.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace railyard::throughput {

/// The rows of a CUDA group in a trace.
[[nodiscard]] std::span<const std::string_view> cuda_trace_rows() noexcept;

/// The kernel, its stages, its waits. Times are still the device's.
struct CudaTraceEvents {
  std::array<diagnostics::TraceEvent, 6> events;
  std::size_t size = 0;
};
[[nodiscard]] CudaTraceEvents events_of(const CudaTraceRecord& record) noexcept;

}  // namespace railyard::throughput
