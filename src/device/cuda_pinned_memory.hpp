// SPDX-License-Identifier: Apache-2.0
// Pinned memory of the process, used again and never unpinned: that would wait for the device, and kernels there may
// wait for this rank.
#pragma once

#include <cstddef>
#include <memory>

namespace railyard::device {

/// Not cleared; host and device address are one, on every device. Goes back with the last copy of the pointer: nothing
/// on a device writes to it then. Thread-safe. Throws RY-OUT-OF-MEMORY with CUDA's words. Pinning may wait for the
/// device, so what an operation needs is taken before.
[[nodiscard]] std::shared_ptr<void> take_pinned_memory(std::size_t bytes);

}  // namespace railyard::device
