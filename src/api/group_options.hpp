// SPDX-License-Identifier: Apache-2.0
// Limits and derived sizes of a group, and that all ranks mean the same.
#pragma once

#include "bootstrap/bootstrap.hpp"

#include <railyard/group.hpp>

#include <chrono>
#include <cstddef>

namespace railyard::api {

/// Throws RY-INVALID-ARGUMENT with value and limit, RY-UNSUPPORTED for what the device's backend does not do. Returns
/// the options with an empty placement and a zero heap budget replaced by what they stand for.
[[nodiscard]] GroupOptions complete_options(const GroupOptions& options, int world_size, DeviceKind device);

/// Group::bytes_needed for complete options.
[[nodiscard]] std::size_t bytes_needed(const GroupOptions& options, int world_size, Layout layout, DeviceKind device);

/// Collective. Throws RY-CONFIG-MISMATCH, on every rank, naming the first field that differs and both values.
void compare_options(const GroupOptions& options, DeviceKind device, bootstrap::Bootstrap& bootstrap,
                     std::chrono::nanoseconds timeout);

}  // namespace railyard::api
