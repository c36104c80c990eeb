// SPDX-License-Identifier: Apache-2.0
// Address space reserved at once, backed by memory in steps.
#pragma once

#include "bootstrap/file_descriptor.hpp"

#include <array>
#include <cstddef>
#include <variant>
#include <vector>

namespace railyard::symmetric_memory {

/// Memory of a GPU for whoever has these bytes (CUmemFabricHandle), on any machine of its NVLink domain. They hold
/// nothing: they mean something as long as somebody has the memory.
using FabricHandle = std::array<std::byte, 64>;

/// Memory of a region that another process can map.
struct SharedPart {
  std::size_t offset = 0;  // in the region
  std::size_t bytes = 0;
  std::variant<bootstrap::FileDescriptor, FabricHandle> handle;
};

class MemoryRegion {
 public:
  virtual ~MemoryRegion() = default;
  /// Makes [0, bytes) usable; never shrinks. Throws RY-OUT-OF-MEMORY.
  virtual void commit(std::size_t bytes) = 0;
  /// All that is committed, by offset, with handles of one type. Empty: only this process can use it. Throws
  /// RY-OUT-OF-MEMORY, RY-UNSUPPORTED.
  [[nodiscard]] virtual std::vector<SharedPart> share() const { return {}; }
  [[nodiscard]] virtual std::byte* base() const noexcept = 0;
  [[nodiscard]] virtual std::size_t limit() const noexcept = 0;
};

}  // namespace railyard::symmetric_memory
