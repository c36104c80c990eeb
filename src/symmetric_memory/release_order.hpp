// SPDX-License-Identifier: Apache-2.0
// When a block that its last holder gave back may be handed out again, on a device whose work runs in streams.
#pragma once

#include <railyard/stream.hpp>

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
  /// The host waits until the mark has passed.
  virtual void synchronize(void* mark) noexcept = 0;
  /// The mark is no longer needed.
  virtual void recycle(void* mark) noexcept = 0;
  [[nodiscard]] virtual bool capturing(Stream stream) noexcept = 0;
};

/// True in a thread that destroys a captured graph: its replays are done, and calls into the device are not allowed.
inline thread_local bool releases_are_done = false;

}  // namespace railyard::symmetric_memory
