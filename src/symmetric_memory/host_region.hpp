// SPDX-License-Identifier: Apache-2.0
// A memory region of the host.
#pragma once

#include "symmetric_memory/memory_region.hpp"

#include <cstddef>

namespace railyard::symmetric_memory {

/// Page-aligned anonymous memory. Fresh pages read as zero; untouched ones take no memory.
class HostRegion final : public MemoryRegion {
 public:
  /// Reserves `limit` bytes. Throws RY-OUT-OF-MEMORY with the bytes asked.
  explicit HostRegion(std::size_t limit);
  ~HostRegion() override;
  HostRegion(const HostRegion&) = delete;
  HostRegion& operator=(const HostRegion&) = delete;

  void commit(std::size_t bytes) override;
  [[nodiscard]] std::byte* base() const noexcept override { return base_; }
  [[nodiscard]] std::size_t limit() const noexcept override { return limit_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t limit_ = 0;
  std::size_t committed_ = 0;
};

}  // namespace railyard::symmetric_memory
