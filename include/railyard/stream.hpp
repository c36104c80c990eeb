// SPDX-License-Identifier: Apache-2.0
// Where an operation runs, and how a caller learns that it is done.
#pragma once

namespace railyard {

/// An opaque stream. The default is the device's default stream. A host stream runs in the calling thread: when a
/// call returns, its work is done.
class Stream {
 public:
  constexpr Stream() = default;
  constexpr explicit Stream(void* native) noexcept : native_(native) {}
  [[nodiscard]] constexpr void* native() const noexcept { return native_; }

 private:
  void* native_ = nullptr;
};

/// The end of an operation on its stream. Host events are complete when the caller sees them.
class Event {
 public:
  constexpr Event() = default;
  [[nodiscard]] constexpr bool done() const noexcept { return true; }
  constexpr void synchronize() const noexcept {}
};

}  // namespace railyard
