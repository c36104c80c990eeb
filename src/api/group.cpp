// SPDX-License-Identifier: Apache-2.0
#include <railyard/group.hpp>

#include "api/group_options.hpp"
#include "api/group_state.hpp"
#include "api/require.hpp"

#include <utility>

namespace railyard {
namespace {

GroupState& use(const std::shared_ptr<GroupState>& state) {
  if (!state) throw Error(ErrorCode::destroyed, "a group was used after it was moved from");
  return *state;
}

// Whole operations receive what they sent: nothing older may be pending.
template <typename Ring>
void require_none_pending(const Ring& ring, const char* operation) {
  if (!ring.empty()) {
    throw Error(ErrorCode::in_flight,
                diagnostics::format("{} with {} send parts pending; receive them first", operation, ring.size()));
  }
}

}  // namespace

Group::Group(Rank& rank, const GroupOptions& options)
    : state_(std::make_shared<GroupState>(rank, api::complete_options(options, rank.world_size()))) {}
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;
Group::~Group() = default;

std::size_t Group::bytes_needed(const GroupOptions& options, int world_size, Layout layout) {
  return api::bytes_needed(api::complete_options(options, world_size), world_size, layout);
}

int Group::rank() const { return use(state_).rank; }
int Group::size() const { return use(state_).size; }
const GroupOptions& Group::options() const { return use(state_).options; }
int Group::local_experts() const { return options().placement.local_experts(rank()); }

Dispatched Group::dispatch(ConstTensorView x, ConstTensorView top_k_ids, const DispatchOptions& options, Stream) {
  GroupState& state = use(state_);
  state.check_active();
  require_none_pending(state.dispatches(), "dispatch");
  return state.receive_dispatch(state.send(api::check_dispatch(state.facts(), x, top_k_ids, options)));
}

Dispatched Group::dispatch(ConstTensorView x, const Route& route, const PayloadOptions& options, Stream) {
  GroupState& state = use(state_);
  state.check_active();
  require_none_pending(state.dispatches(), "dispatch");
  return state.receive_dispatch(state.send(api::check_routed_dispatch(state.facts(), x, route, options)));
}

PendingDispatch Group::dispatch_send(ConstTensorView x, ConstTensorView top_k_ids, const DispatchOptions& options,
                                     Stream) {
  GroupState& state = use(state_);
  state.check_active();
  return {state_, state.send(api::check_dispatch(state.facts(), x, top_k_ids, options))};
}

PendingDispatch Group::dispatch_send(ConstTensorView x, const Route& route, const PayloadOptions& options, Stream) {
  GroupState& state = use(state_);
  state.check_active();
  return {state_, state.send(api::check_routed_dispatch(state.facts(), x, route, options))};
}

Route Group::route(ConstTensorView top_k_ids, const RouteOptions& options, Stream) {
  GroupState& state = use(state_);
  state.check_active();
  require_none_pending(state.dispatches(), "route");
  return state.receive_dispatch(state.send(api::check_route(state.facts(), top_k_ids, options))).route;
}

Route Group::route_from_mask(ConstTensorView mask, const RouteOptions& options, Stream) {
  GroupState& state = use(state_);
  state.check_active();
  require_none_pending(state.dispatches(), "route_from_mask");
  return state.receive_dispatch(state.send(api::check_route_from_mask(state.facts(), mask, options))).route;
}

Combined Group::combine(ConstTensorView y, const Route& route, TensorView out, const CombineOptions& options, Stream) {
  GroupState& state = use(state_);
  state.check_active();
  require_none_pending(state.combines(), "combine");
  return state.receive_combine(state.send(api::check_combine(state.facts(), y, route, out, options)));
}

PendingCombine Group::combine_send(ConstTensorView y, const Route& route, TensorView out, const CombineOptions& options,
                                   Stream) {
  GroupState& state = use(state_);
  state.check_active();
  return {state_, state.send(api::check_combine(state.facts(), y, route, out, options))};
}

Tensor Group::allocate(std::initializer_list<std::int64_t> shape, DType dtype) {
  return use(state_).allocate(shape, dtype);
}

void Group::grow_heap(std::size_t bytes) { use(state_).grow_heap(bytes); }

void Group::set_timeout(std::chrono::nanoseconds timeout) {
  api::require(timeout.count() > 0, "set_timeout of {} ns; more than 0", timeout.count());
  use(state_).waiter().set_timeout(timeout);
}

GroupStatistics Group::statistics() const { return use(state_).statistics(); }

void Group::abort(std::string_view reason) { use(state_).abort(reason); }

}  // namespace railyard
