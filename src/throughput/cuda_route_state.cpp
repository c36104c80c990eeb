// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_route_state.hpp"

#include <algorithm>

namespace railyard::throughput {

void CudaRouteState::wait() {
  const std::lock_guard lock(mutex_);
  wait_locked();
}

void CudaRouteState::wait_for_expert_counts() {
  const std::lock_guard lock(mutex_);
  wait_locked();
  if (counts_known_ && !completion->captured()) return;
  expert_counts.assign(static_cast<std::size_t>(local_experts), 0);
  if (local_experts > 0 && !exhausted) {
    std::int32_t* const pinned = completion->slot().expert_counts();
    completion->resources().read_back(device_counts.data(), pinned, expert_counts.size() * sizeof(*pinned),
                                      "reading expert counts");
    std::copy_n(pinned, expert_counts.size(), expert_counts.begin());
  }
  expert_offsets.assign(expert_counts.size() + 1, 0);
  counts_known_ = true;
}

void CudaRouteState::wait_locked() {
  const bool captured = completion->captured();
  if (known_ && !captured) return;
  if (!captured) completion->synchronize();
  read_results();
  known_ = true;
}

void CudaRouteState::read_results() {
  const CudaDispatchResult& result = completion->slot().dispatch;
  const auto ranks = static_cast<std::size_t>(num_ranks);
  entries.num_tokens = result.num_tokens;
  num_rows = result.num_rows;
  num_dropped = result.num_dropped;
  status = result.status;
  send_counts.assign(result.send_counts, result.send_counts + ranks);
  receive_counts.assign(result.receive_counts, result.receive_counts + ranks);
}

CudaRouteState* CudaRoutePool::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) {
    states_.emplace_back();
    idle_.reserve(states_.size());  // so that give_back never allocates
    idle_.push_back(&states_.back());
  }
  CudaRouteState* const state = idle_.back();
  idle_.pop_back();
  state->known_ = false;
  state->counts_known_ = false;
  state->start(shared_from_this());
  return state;
}

void CudaRoutePool::give_back(routing::RouteState& state) noexcept {
  auto& mine = static_cast<CudaRouteState&>(state);
  mine.expert_ids = {};
  mine.origins = {};
  mine.device_counts = {};
  mine.memory = {};
  mine.completion.reset();
  const std::lock_guard lock(mutex_);
  idle_.push_back(&mine);
}

}  // namespace railyard::throughput
