// SPDX-License-Identifier: Apache-2.0
// The heaps of all ranks of a group, as one rank has them mapped.
#pragma once

#include "bootstrap/bootstrap.hpp"
#include "symmetric_memory/heap.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace railyard::symmetric_memory {

/// Keeps every peer's heap alive, whatever the peer does.
class SymmetricHeap {
 public:
  /// Collective; `make` makes this rank's heap, of `bytes`. Throws RY-OUT-OF-MEMORY naming the rank that could not
  /// allocate (on every rank), RY-TIMEOUT, RY-ABORTED.
  SymmetricHeap(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const std::function<std::shared_ptr<Heap>()>& make,
                std::chrono::nanoseconds timeout);

  [[nodiscard]] Heap& own() const noexcept { return *heaps_[own_rank_]; }
  [[nodiscard]] std::byte* base(int rank) const noexcept { return heaps_[static_cast<std::size_t>(rank)]->base(); }

 private:
  std::size_t own_rank_;
  std::vector<std::shared_ptr<Heap>> heaps_;  // [rank]
};

}  // namespace railyard::symmetric_memory
