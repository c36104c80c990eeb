// SPDX-License-Identifier: Apache-2.0
// A memory region of another process, mapped here.
#pragma once

#include "symmetric_memory/memory_region.hpp"

#include <cstddef>
#include <vector>

namespace railyard::symmetric_memory {

class PeerMapping {
 public:
  virtual ~PeerMapping() = default;
  /// `parts`: all that the region has shared so far, by offset; those that are mapped already are left out. Throws
  /// RY-OUT-OF-MEMORY, RY-UNSUPPORTED.
  virtual void extend(const std::vector<SharedPart>& parts) = 0;
  [[nodiscard]] virtual std::byte* base() const noexcept = 0;
};

}  // namespace railyard::symmetric_memory
