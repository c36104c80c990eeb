// SPDX-License-Identifier: Apache-2.0
#include <railyard/lease.hpp>

#include "symmetric_memory/heap.hpp"
#include "symmetric_memory/lease_state.hpp"

namespace railyard {

Lease::Lease(const Lease& other) noexcept : state_(other.state_) {
  if (state_) state_->add_holder();
}

Lease::~Lease() {
  if (state_) state_->remove_holder();
}

std::size_t Lease::bytes() const noexcept { return state_ ? state_->bytes() : 0; }

void Lease::use_on(Stream stream) const {
  if (state_) state_->add_stream(stream);
}

namespace symmetric_memory {

void LeaseState::remove_holder() noexcept {
  // Release: this holder's last accesses come before the block's reuse. Acquire, in the last one: all of theirs do.
  if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const std::shared_ptr<Heap> heap = std::move(heap_);
    heap->give_back(*this);
  }
}

}  // namespace symmetric_memory
}  // namespace railyard
