// SPDX-License-Identifier: Apache-2.0
// A lease: shared ownership of one block of a rank's heap.
#pragma once

#include <railyard/export.hpp>
#include <railyard/stream.hpp>

#include <cstddef>
#include <utility>

namespace railyard {

namespace symmetric_memory {
class LeaseState;
}

/// One block of a rank's heap, alive as long as any copy of this handle is. Copying and destroying are safe from any
/// thread. The block outlives the group that made it, and the ranks that may still read it. A default-constructed
/// lease holds nothing.
///
/// On CUDA the release is ordered like the work: when the last copy is destroyed, what was submitted before to the
/// stream that the lease was made for, to the streams of the group's operations that used it, and to those of
/// `use_on` still may use the block. A CUDA graph owns the leases of the operations captured into it.
class Lease {
 public:
  Lease() = default;
  RAILYARD_API Lease(const Lease& other) noexcept;
  Lease(Lease&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Lease& operator=(Lease other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  RAILYARD_API ~Lease();

  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }
  /// Bytes of the block as the heap counts them.
  [[nodiscard]] RAILYARD_API std::size_t bytes() const noexcept;

  /// Work submitted to `stream` before the last copy is destroyed uses the block too. Any thread; no effect on the
  /// host.
  RAILYARD_API void use_on(Stream stream) const;

  /// For the library: takes over one reference.
  explicit Lease(symmetric_memory::LeaseState* adopted) noexcept : state_(adopted) {}
  [[nodiscard]] symmetric_memory::LeaseState* state() const noexcept { return state_; }

 private:
  symmetric_memory::LeaseState* state_ = nullptr;
};

}  // namespace railyard
