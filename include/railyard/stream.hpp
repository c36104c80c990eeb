// SPDX-License-Identifier: Apache-2.0
// Where an operation runs, and how a caller learns that it is done and what became of it.
#pragma once

#include <railyard/error.hpp>
#include <railyard/export.hpp>

#include <memory>
#include <utility>

namespace railyard {

/// An opaque stream: on CUDA a cudaStream_t, whose work is ordered as usual. The default is the device's default
/// stream; cudaStreamPerThread is refused. A stream outlives the leases of what ran on it. A host stream runs in the
/// calling thread: when a call returns, its work is done.
class Stream {
 public:
  constexpr Stream() = default;
  constexpr explicit Stream(void* native) noexcept : native_(native) {}
  [[nodiscard]] constexpr void* native() const noexcept { return native_; }
  friend constexpr bool operator==(Stream, Stream) = default;

 private:
  void* native_ = nullptr;
};

/// How a device tells about one operation; for the library.
class Completion {
 public:
  virtual ~Completion() = default;
  [[nodiscard]] virtual bool done() const = 0;
  virtual void synchronize() const = 0;
  [[nodiscard]] virtual const Status& status() const = 0;
  [[nodiscard]] virtual void* native() const noexcept = 0;
};

/// The end of an operation on its stream, and its status. Copies share it; it may outlive its group. Host events are
/// complete when the caller sees them.
///
/// An operation captured into a CUDA graph has no end of its own: synchronize the stream that the graph was launched
/// on; then `status` tells about the latest replay, without waiting.
class RAILYARD_API Event {
 public:
  Event() = default;
  explicit Event(const Status& status) noexcept : status_(status) {}
  explicit Event(std::shared_ptr<const Completion> completion) noexcept : completion_(std::move(completion)) {}

  /// Whether the operation has ended. Never blocks. RY-UNSUPPORTED for a captured one.
  [[nodiscard]] bool done() const;
  /// The host waits until it has: at most the group's deadline longer than the stream's earlier work. Throws what ended
  /// it without its peers: RY-TIMEOUT, RY-OPERATION-MISMATCH, RY-ABORTED, RY-SUSPENDED. RY-UNSUPPORTED for a captured
  /// one.
  void synchronize() const;
  /// The same wait, then what became of the operation.
  [[nodiscard]] const Status& status() const;
  /// A cudaEvent_t that lives as long as any copy of this, for other streams to wait on; null on the host and for a
  /// captured operation.
  [[nodiscard]] void* native() const noexcept;

 private:
  Status status_;
  std::shared_ptr<const Completion> completion_;
};

}  // namespace railyard
