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

/// Where one rank's heap begins, and what keeps it mapped here.
struct MappedHeap {
  std::byte* base = nullptr;
  std::shared_ptr<const void> mapping;
};

/// Keeps every peer's heap mapped, whatever the peer does.
class SymmetricHeap {
 public:
  /// `all`: by rank.
  SymmetricHeap(std::shared_ptr<Heap> own, std::vector<MappedHeap> all) : own_(std::move(own)), all_(std::move(all)) {}

  /// The same heaps as those of `members`, ascending, of `num_ranks` ranks; the others have none.
  [[nodiscard]] std::shared_ptr<SymmetricHeap> spread(const std::vector<int>& members, int num_ranks) const;

  [[nodiscard]] Heap& own() const noexcept { return *own_; }
  /// Null for a rank without a heap.
  [[nodiscard]] std::byte* base(int rank) const noexcept { return all_[static_cast<std::size_t>(rank)].base; }

 private:
  std::shared_ptr<Heap> own_;
  std::vector<MappedHeap> all_;
};

/// Collective, between ranks of one process; `make` makes this rank's heap, of `bytes`. Throws RY-OUT-OF-MEMORY naming
/// the rank that could not allocate (on every rank), RY-TIMEOUT, RY-ABORTED.
[[nodiscard]] std::shared_ptr<SymmetricHeap> share_heaps(bootstrap::Bootstrap& bootstrap, std::size_t bytes,
                                                         const std::function<std::shared_ptr<Heap>()>& make,
                                                         std::chrono::nanoseconds timeout);

/// Collective: heaps of `bytes`, growing up to `limit`, in host memory, between threads of one process or processes of
/// one machine. Errors as `share_heaps`; between processes RY-OUT-OF-MEMORY also names a rank that could not map its
/// peers' heaps, and RY-UNSUPPORTED a rank of another machine.
[[nodiscard]] std::shared_ptr<SymmetricHeap> make_host_heaps(bootstrap::Bootstrap& bootstrap, std::size_t bytes,
                                                             std::size_t limit, std::chrono::nanoseconds timeout);

}  // namespace railyard::symmetric_memory
