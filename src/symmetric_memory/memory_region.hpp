// SPDX-License-Identifier: Apache-2.0
// Address space reserved at once, backed by memory in steps.
#pragma once

#include <cstddef>

namespace railyard::symmetric_memory {

class MemoryRegion {
 public:
  virtual ~MemoryRegion() = default;
  /// Makes [0, bytes) usable; never shrinks. Throws RY-OUT-OF-MEMORY.
  virtual void commit(std::size_t bytes) = 0;
  [[nodiscard]] virtual std::byte* base() const noexcept = 0;
  [[nodiscard]] virtual std::size_t limit() const noexcept = 0;
};

}  // namespace railyard::symmetric_memory
