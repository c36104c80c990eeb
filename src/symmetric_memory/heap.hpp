// SPDX-License-Identifier: Apache-2.0
// One rank's heap: a budget of bytes that its peers have mapped, handed out as leases.
#pragma once

#include "symmetric_memory/block_allocator.hpp"
#include "symmetric_memory/lease_state.hpp"
#include "symmetric_memory/memory_region.hpp"
#include "symmetric_memory/release_order.hpp"

#include <railyard/lease.hpp>
#include <railyard/stream.hpp>

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace railyard::symmetric_memory {

struct HeapUsage {
  std::size_t bytes = 0;
  std::size_t in_use = 0;
  std::size_t peak = 0;
  std::size_t largest_free = 0;
};

/// Thread-safe. Lives until the last group that maps it and the last lease have let go.
///
/// Order, with a ReleaseOrder. A block is used by the work of its lease's streams, and by peers only in operations that
/// are part of that work. When its last holder lets go, a mark is set in each of these streams; the block is free for
/// everybody once the marks have passed. Where that is too late, the stream that asks is made to wait for the marks
/// (the host never is), and from then on other streams that allocate wait for a mark in that stream, the fence. Work
/// that is captured into a graph counts by the lease that the graph holds, not by its stream.
class Heap : public std::enable_shared_from_this<Heap> {
 public:
  /// Throws RY-OUT-OF-MEMORY. Without an order blocks are free as soon as they are given back.
  Heap(std::unique_ptr<MemoryRegion> region, std::size_t bytes, std::shared_ptr<ReleaseOrder> order = nullptr);
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// A lease of at least `bytes` for work on `stream`, or an empty one if no free range is long enough; while the
  /// stream is captured, only of bytes that are free already. bytes > 0.
  [[nodiscard]] Lease allocate(std::size_t bytes, Stream stream = {});
  /// Takes memory for `grow`, and no more: the heap is as large as before. Throws RY-HEAP-EXHAUSTED beyond the limit,
  /// RY-OUT-OF-MEMORY.
  void prepare_growth(std::size_t bytes);
  /// prepare_growth, then hands the bytes out. Same errors.
  void grow(std::size_t bytes);
  /// From now on no byte is handed out again: a peer may still write to blocks that are given back.
  void quarantine() noexcept;

  /// The lease that holds `address`, with a new holder; empty if none does.
  [[nodiscard]] Lease lease_of(const void* address) const;
  /// Bytes from `address` to the end of the lease that holds it; 0 if none does.
  [[nodiscard]] std::size_t leased_from(const void* address) const;

  [[nodiscard]] std::byte* base() const noexcept { return region_->base(); }
  [[nodiscard]] std::size_t limit() const noexcept { return region_->limit(); }
  /// What another process maps: MemoryRegion::share.
  [[nodiscard]] std::vector<SharedPart> share() const { return region_->share(); }
  [[nodiscard]] HeapUsage usage();

 private:
  friend class LeaseState;

  // Given back, and waiting for the streams that used it.
  struct Released {
    std::size_t offset = 0;
    std::size_t bytes = 0;
    std::vector<Stream> unmarked;
    std::vector<void*> marks;
  };

  void commit_growth(std::size_t bytes);
  void give_back(LeaseState& state) noexcept;
  [[nodiscard]] bool awaits_streams(LeaseState& state) noexcept;
  [[nodiscard]] LeaseState* live_at(const void* address) const;
  [[nodiscard]] bool settle(Released& released) noexcept;
  void free_settled() noexcept;
  [[nodiscard]] std::optional<std::size_t> allocate_in_order(std::size_t bytes, Stream stream);
  void wait_for_fence(Stream stream) noexcept;

  std::unique_ptr<MemoryRegion> region_;
  std::shared_ptr<ReleaseOrder> order_;
  mutable std::mutex mutex_;
  BlockAllocator blocks_;
  std::deque<LeaseState> states_;
  std::vector<LeaseState*> idle_states_;
  std::map<std::size_t, LeaseState*> live_;                                // by offset
  std::vector<std::map<std::size_t, LeaseState*>::node_type> idle_nodes_;  // of it, to be used again
  std::deque<Released> released_;                                          // oldest first
  void* fence_ = nullptr;
  Stream fence_stream_;
  std::size_t peak_ = 0;
  bool quarantined_ = false;
};

}  // namespace railyard::symmetric_memory
