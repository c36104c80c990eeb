// SPDX-License-Identifier: Apache-2.0
// Address space reserved at once, committed in steps.
#pragma once

#include <cstddef>

namespace railyard::symmetric_memory {

/// Page-aligned anonymous memory. Fresh pages read as zero; untouched ones take no memory.
class HostRegion {
 public:
  /// Reserves `limit` bytes. Throws RY-OUT-OF-MEMORY with the bytes asked.
  explicit HostRegion(std::size_t limit);
  ~HostRegion();
  HostRegion(const HostRegion&) = delete;
  HostRegion& operator=(const HostRegion&) = delete;

  /// Makes [0, bytes) usable; never shrinks. Throws RY-OUT-OF-MEMORY.
  void commit(std::size_t bytes);

  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t limit_ = 0;
  std::size_t committed_ = 0;
};

}  // namespace railyard::symmetric_memory
