// SPDX-License-Identifier: Apache-2.0
// The heaps of all ranks of a group, as one rank has them mapped.
#pragma once

#include "bootstrap/bootstrap.hpp"
#include "symmetric_memory/heap.hpp"
#include "symmetric_memory/peer_mapping.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace railyard::symmetric_memory {

/// How the memory of one kind of heap is made, and reached from another process.
struct HeapKind {
  /// This rank's heap.
  std::function<std::shared_ptr<Heap>()> make;
  /// Where a heap of another process will be; used between processes only.
  std::function<std::unique_ptr<PeerMapping>()> map;
};

/// Keeps every peer's heap mapped, whatever the peer does.
class SymmetricHeap {
 public:
  /// Collective: heaps of `bytes`, which a message names, between threads of one process or between processes: of one
  /// machine where regions share files, and wherever the bootstrap reaches where they share fabric handles. What a
  /// rank throws that cannot allocate or map (RY-OUT-OF-MEMORY, RY-UNSUPPORTED) is thrown on every rank, naming it.
  /// Throws RY-UNSUPPORTED naming a rank of another machine, RY-TIMEOUT, RY-ABORTED.
  SymmetricHeap(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const HeapKind& kind,
                std::chrono::nanoseconds timeout);

  [[nodiscard]] Heap& own() const noexcept { return *own_; }
  /// Null for a rank without a heap.
  [[nodiscard]] std::byte* base(int rank) const noexcept { return bases_[static_cast<std::size_t>(rank)]; }
  /// From now on `base` takes the numbers of `num_ranks` ranks: those whose heaps these are are `members`, ascending,
  /// and the others have none.
  void number_as(const std::vector<int>& members, int num_ranks);

  /// Collective: takes memory for `own().grow(bytes)` and maps what the peers took. Throws what Heap::prepare_growth
  /// and PeerMapping::extend throw, once all ranks have shared what they have; the peers are not told.
  void prepare_growth(bootstrap::Bootstrap& bootstrap, std::size_t bytes, std::chrono::nanoseconds timeout);

 private:
  void share_in_process(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const HeapKind& kind,
                        std::chrono::nanoseconds timeout);
  void share_between_processes(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const HeapKind& kind,
                               std::chrono::nanoseconds timeout);

  std::shared_ptr<Heap> own_;
  std::vector<std::byte*> bases_;                       // by rank
  std::vector<std::shared_ptr<void>> heaps_;            // kept, by the bootstrap's rank, in one process
  std::vector<std::unique_ptr<PeerMapping>> mappings_;  // the same, between processes; own: null
};

/// Collective: heaps of `bytes`, growing up to `limit`, in host memory, between threads of one process or processes of
/// one machine. Errors as SymmetricHeap's.
[[nodiscard]] std::shared_ptr<SymmetricHeap> make_host_heaps(bootstrap::Bootstrap& bootstrap, std::size_t bytes,
                                                             std::size_t limit, std::chrono::nanoseconds timeout);

}  // namespace railyard::symmetric_memory
