// SPDX-License-Identifier: Apache-2.0
#include "routing/route_state.hpp"

#include <utility>

namespace railyard::routing {

void RouteState::remove_holder() noexcept {
  if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const std::shared_ptr<RouteOwner> owner = std::move(owner_);
    owner->give_back(*this);
  }
}

RouteState* RoutePool::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) {
    states_.emplace_back();
    idle_.reserve(states_.size());  // so that give_back never allocates
    idle_.push_back(&states_.back());
  }
  RouteState* const state = idle_.back();
  idle_.pop_back();
  state->start(shared_from_this());
  return state;
}

void RoutePool::give_back(RouteState& state) noexcept {
  state.expert_ids = {};
  state.origins = {};
  const std::lock_guard lock(mutex_);
  idle_.push_back(&state);
}

}  // namespace railyard::routing
