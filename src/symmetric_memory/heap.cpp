// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/heap.hpp"

#include "diagnostics/format.hpp"
#include "diagnostics/random_delay.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

namespace railyard::symmetric_memory {

Heap::Heap(std::unique_ptr<MemoryRegion> region, std::size_t bytes, std::shared_ptr<ReleaseOrder> order)
    : region_(std::move(region)), order_(std::move(order)) {
  region_->commit(bytes);
  blocks_.grow(bytes);
}

Heap::~Heap() {
  if (!order_) return;
  std::vector<void*> marks;
  for (Released& released : released_) {
    if (settle(released)) continue;
    marks.insert(marks.end(), released.marks.begin(), released.marks.end());
    if (!released.unmarked.empty()) marks.push_back(nullptr);
  }
  if (fence_) order_->recycle(fence_);
  if (!marks.empty()) order_->retire(std::move(region_), std::move(marks));
}

Lease Heap::allocate(std::size_t bytes, Stream stream) {
  diagnostics::random_delay();  // before a block is used again
  const std::lock_guard lock(mutex_);
  if (quarantined_) return {};
  const auto offset = order_ ? allocate_in_order(bytes, stream) : blocks_.allocate(bytes);
  if (!offset) return {};
  peak_ = std::max(peak_, blocks_.end() - blocks_.free_bytes());
  if (idle_states_.empty()) {
    states_.emplace_back();
    idle_states_.reserve(states_.size());  // so that give_back never allocates
    idle_nodes_.reserve(states_.size());
    idle_states_.push_back(&states_.back());
  }
  LeaseState& state = *idle_states_.back();
  idle_states_.pop_back();
  state.holders_.store(1, std::memory_order_relaxed);
  state.data_ = region_->base() + *offset;
  state.offset_ = *offset;
  state.bytes_ = BlockAllocator::round_up(bytes);
  state.heap_ = shared_from_this();
  if (order_) {
    // What is captured uses the block under the graph's own lease.
    state.streams_.clear();
    if (!order_->capturing(stream)) state.streams_.push_back(stream);
  }
  if (idle_nodes_.empty()) {
    live_.emplace(*offset, &state);
  } else {
    idle_nodes_.back().key() = *offset;
    idle_nodes_.back().mapped() = &state;
    live_.insert(std::move(idle_nodes_.back()));
    idle_nodes_.pop_back();
  }
  return Lease(&state);
}

std::optional<std::size_t> Heap::allocate_in_order(std::size_t bytes, Stream stream) {
  const bool capturing = order_->capturing(stream);
  free_settled();
  if (capturing && fence_) return std::nullopt;  // a captured operation cannot wait for what was not captured
  auto offset = blocks_.allocate(bytes);
  for (auto next = released_.begin(); !offset && !capturing && next != released_.end();) {
    if (!next->unmarked.empty()) {  // its stream is being captured
      ++next;
      continue;
    }
    for (void* mark : next->marks) {
      order_->wait(stream, mark);
      order_->recycle(mark);
    }
    blocks_.release(next->offset, next->bytes);
    next = released_.erase(next);
    wait_for_fence(stream);
    if (fence_) order_->recycle(fence_);
    fence_ = order_->mark(stream);
    fence_stream_ = stream;
    offset = blocks_.allocate(bytes);
  }
  if (offset) wait_for_fence(stream);
  return offset;
}

// Whether no work uses the block any more.
bool Heap::settle(Released& released) noexcept {
  std::erase_if(released.unmarked, [&](Stream stream) {
    if (order_->idle(stream)) return true;
    void* const mark = order_->mark(stream);
    if (mark) released.marks.push_back(mark);
    return mark != nullptr;
  });
  std::erase_if(released.marks, [&](void* mark) {
    const bool done = order_->done(mark);
    if (done) order_->recycle(mark);
    return done;
  });
  return released.unmarked.empty() && released.marks.empty();
}

void Heap::free_settled() noexcept {
  std::erase_if(released_, [&](Released& released) {
    if (!settle(released)) return false;
    blocks_.release(released.offset, released.bytes);
    return true;
  });
  if (fence_ && order_->done(fence_)) order_->recycle(std::exchange(fence_, nullptr));
}

// Later work on `stream` comes after everything that earlier allocations were made to wait for.
void Heap::wait_for_fence(Stream stream) noexcept {
  if (fence_ && stream != fence_stream_) order_->wait(stream, fence_);
  if (fence_ && order_->done(fence_)) order_->recycle(std::exchange(fence_, nullptr));
}

void Heap::commit_growth(std::size_t bytes) {
  if (bytes > region_->limit() - blocks_.end()) {
    throw Error(ErrorCode::heap_exhausted, diagnostics::format("a heap of {} bytes cannot grow by {}: its limit is {}",
                                                               blocks_.end(), bytes, region_->limit()));
  }
  region_->commit(blocks_.end() + bytes);
}

void Heap::prepare_growth(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  commit_growth(bytes);
}

void Heap::grow(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  commit_growth(bytes);
  blocks_.grow(bytes);
}

void Heap::quarantine() noexcept {
  const std::lock_guard lock(mutex_);
  quarantined_ = true;
}

// Of the lease that holds it, or null. Its last holder may be on the way here. Under the lock.
LeaseState* Heap::live_at(const void* address) const {
  const auto* const byte = static_cast<const std::byte*>(address);
  if (std::less<>{}(byte, base()) || std::greater_equal<>{}(byte, base() + limit())) return nullptr;
  const auto offset = static_cast<std::size_t>(byte - base());
  const auto after = live_.upper_bound(offset);
  if (after == live_.begin()) return nullptr;
  LeaseState* const state = std::prev(after)->second;
  return offset < state->offset_ + state->bytes_ ? state : nullptr;
}

Lease Heap::lease_of(const void* address) const {
  const std::lock_guard lock(mutex_);
  LeaseState* const state = live_at(address);
  if (!state) return {};
  int holders = state->holders_.load(std::memory_order_relaxed);
  while (holders > 0) {
    if (state->holders_.compare_exchange_weak(holders, holders + 1, std::memory_order_relaxed)) return Lease(state);
  }
  return {};
}

std::size_t Heap::leased_from(const void* address) const {
  const std::lock_guard lock(mutex_);
  const LeaseState* const state = live_at(address);
  if (!state || state->holders_.load(std::memory_order_relaxed) == 0) return 0;
  return static_cast<std::size_t>(state->data_ + state->bytes_ - static_cast<const std::byte*>(address));
}

HeapUsage Heap::usage() {
  const std::lock_guard lock(mutex_);
  if (order_) free_settled();
  return {.bytes = blocks_.end(),
          .in_use = blocks_.end() - blocks_.free_bytes(),
          .peak = peak_,
          .largest_free = blocks_.largest_free_range()};
}

void Heap::give_back(LeaseState& state) noexcept {
  const std::lock_guard lock(mutex_);
  idle_nodes_.push_back(live_.extract(state.offset_));
  if (!order_ || !awaits_streams(state)) blocks_.release(state.offset_, state.bytes_);
  idle_states_.push_back(&state);
}

// Whether work that was submitted may still use the block: then it is freed later.
bool Heap::awaits_streams(LeaseState& state) noexcept {
  Released released{.offset = state.offset_, .bytes = state.bytes_, .unmarked = {}, .marks = {}};
  released.unmarked.swap(state.streams_);
  if (settle(released)) return false;
  released_.push_back(std::move(released));
  return true;
}

void LeaseState::add_stream(Stream stream) {
  const std::lock_guard lock(heap_->mutex_);
  if (!heap_->order_ || heap_->order_->capturing(stream)) return;
  if (std::find(streams_.begin(), streams_.end(), stream) == streams_.end()) streams_.push_back(stream);
}

}  // namespace railyard::symmetric_memory
