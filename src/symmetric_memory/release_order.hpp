// SPDX-License-Identifier: Apache-2.0
// When a block that its last holder gave back may be handed out again, on a device whose work runs in streams.
#pragma once

#include "symmetric_memory/memory_region.hpp"

#include <railyard/stream.hpp>

#include <memory>
#include <vector>

namespace railyard::symmetric_memory {

/// Marks are points in the order of streams. Thread-safe; nothing here throws: a device that has failed has no later
/// work to protect.
class ReleaseOrder {
 public:
  virtual ~ReleaseOrder() = default;
  /// After the work submitted to `stream` so far; null while the stream is being captured, to be asked again.
  [[nodiscard]] virtual void* mark(Stream stream) noexcept = 0;
  /// Whether the stream has no work left.
  [[nodiscard]] virtual bool idle(Stream stream) noexcept = 0;
  [[nodiscard]] virtual bool done(void* mark) noexcept = 0;
  /// Later work on `stream` comes after `mark`. The host does not wait.
  virtual void wait(Stream stream, void* mark) noexcept = 0;
  /// The mark is no longer needed.
  virtual void recycle(void* mark) noexcept = 0;
  [[nodiscard]] virtual bool capturing(Stream stream) noexcept = 0;
  /// Takes over a region that may still be used until all marks have passed; null: for ever. Nobody waits.
  virtual void retire(std::unique_ptr<MemoryRegion> region, std::vector<void*> marks) noexcept = 0;
};

}  // namespace railyard::symmetric_memory
