// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/heap.hpp"

#include "diagnostics/format.hpp"
#include "diagnostics/random_delay.hpp"

#include <railyard/error.hpp>

#include <algorithm>

namespace railyard::symmetric_memory {

Heap::Heap(std::size_t bytes, std::size_t limit) : region_(std::max(bytes, limit)) {
  region_.commit(bytes);
  blocks_.grow(bytes);
}

Lease Heap::allocate(std::size_t bytes) {
  diagnostics::random_delay();  // before a block is used again
  const std::lock_guard lock(mutex_);
  if (quarantined_) return {};
  const auto offset = blocks_.allocate(bytes);
  if (!offset) return {};
  peak_ = std::max(peak_, blocks_.end() - blocks_.free_bytes());
  if (idle_states_.empty()) {
    states_.emplace_back();
    idle_states_.reserve(states_.size());  // so that give_back never allocates
    idle_states_.push_back(&states_.back());
  }
  LeaseState& state = *idle_states_.back();
  idle_states_.pop_back();
  state.holders_.store(1, std::memory_order_relaxed);
  state.data_ = region_.base() + *offset;
  state.offset_ = *offset;
  state.bytes_ = BlockAllocator::round_up(bytes);
  state.heap_ = shared_from_this();
  return Lease(&state);
}

void Heap::grow(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > region_.limit() - blocks_.end()) {
    throw Error(ErrorCode::heap_exhausted, diagnostics::format("a heap of {} bytes cannot grow by {}: its limit is {}",
                                                               blocks_.end(), bytes, region_.limit()));
  }
  region_.commit(blocks_.end() + bytes);
  blocks_.grow(bytes);
}

void Heap::quarantine() noexcept {
  const std::lock_guard lock(mutex_);
  quarantined_ = true;
}

HeapUsage Heap::usage() const {
  const std::lock_guard lock(mutex_);
  return {.bytes = blocks_.end(),
          .in_use = blocks_.end() - blocks_.free_bytes(),
          .peak = peak_,
          .largest_free = blocks_.largest_free_range()};
}

void Heap::give_back(LeaseState& state) noexcept {
  const std::lock_guard lock(mutex_);
  blocks_.release(state.offset_, state.bytes_);
  idle_states_.push_back(&state);
}

}  // namespace railyard::symmetric_memory
