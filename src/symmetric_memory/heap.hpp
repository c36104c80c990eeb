// SPDX-License-Identifier: Apache-2.0
// One rank's heap: a budget of bytes that its peers have mapped, handed out as leases.
#pragma once

#include "symmetric_memory/block_allocator.hpp"
#include "symmetric_memory/host_region.hpp"
#include "symmetric_memory/lease_state.hpp"

#include <railyard/lease.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace railyard::symmetric_memory {

struct HeapUsage {
  std::size_t bytes = 0;
  std::size_t in_use = 0;
  std::size_t peak = 0;
  std::size_t largest_free = 0;
};

/// Thread-safe. Lives until the last group that maps it and the last lease have let go.
class Heap : public std::enable_shared_from_this<Heap> {
 public:
  /// Throws RY-OUT-OF-MEMORY.
  Heap(std::size_t bytes, std::size_t limit);

  /// A lease of at least `bytes`, or an empty one if no free range is long enough. bytes > 0.
  [[nodiscard]] Lease allocate(std::size_t bytes);
  /// Throws RY-HEAP-EXHAUSTED beyond the limit, RY-OUT-OF-MEMORY.
  void grow(std::size_t bytes);
  /// From now on no byte is handed out again: a peer may still write to blocks that are given back.
  void quarantine() noexcept;

  [[nodiscard]] std::byte* base() const noexcept { return region_.base(); }
  [[nodiscard]] std::size_t limit() const noexcept { return region_.limit(); }
  [[nodiscard]] HeapUsage usage() const;

 private:
  friend class LeaseState;
  void give_back(LeaseState& state) noexcept;

  HostRegion region_;
  mutable std::mutex mutex_;
  BlockAllocator blocks_;
  std::deque<LeaseState> states_;
  std::vector<LeaseState*> idle_states_;
  std::size_t peak_ = 0;
  bool quarantined_ = false;
};

}  // namespace railyard::symmetric_memory
