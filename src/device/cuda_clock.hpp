// SPDX-License-Identifier: Apache-2.0
// What a device's clock shows when.
#pragma once

#include "device/clock_map.hpp"

#include <cuda_runtime_api.h>

#include <optional>

namespace railyard::device {

/// %globaltimer of the current device against the host's monotonic clock (diagnostics::trace_clock). A kernel of one
/// thread on `stream` answers 64 questions by its clock; each answer lies between question and receipt, and so does the
/// difference of the clocks: what all of them leave open is the uncertainty, about a microsecond over PCIe. Nothing if
/// the device did not run the kernel within a fifth of a second. Throws RY-OUT-OF-MEMORY and RY-UNSUPPORTED.
[[nodiscard]] std::optional<ClockPair> compare_clocks(cudaStream_t stream);

[[nodiscard]] const void* clock_kernel_address();

}  // namespace railyard::device
