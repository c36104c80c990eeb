// SPDX-License-Identifier: Apache-2.0
#include <railyard/group.hpp>

#include "api/group_options.hpp"
#include "api/group_state.hpp"
#include "api/require.hpp"

#include <utility>
#include <vector>

namespace railyard {
namespace {

GroupState& use(const std::shared_ptr<GroupState>& state) {
  if (!state) throw Error(ErrorCode::destroyed, "a group was used after it was moved from");
  return *state;
}

// Whole operations receive what they sent: nothing older may be pending.
void require_none_pending(const PendingCounts& pending, const char* operation) {
  if (pending.size() > 0) {
    throw Error(ErrorCode::in_flight,
                diagnostics::format("{} with {} send parts pending; receive them first", operation, pending.size()));
  }
}

std::shared_ptr<GroupState> make_group(Rank& rank, const GroupOptions& complete_options) {
#ifdef RAILYARD_CUDA
  if (rank.device().kind == DeviceKind::cuda) return api::make_cuda_group(rank, complete_options);
#endif
  return api::make_host_group(rank, complete_options);
}

GroupOptions with_defaults_of(const Rank& rank, GroupOptions options) {
  if (!options.gpu_handles) options.gpu_handles = rank.gpu_handles();
  return options;
}

}  // namespace

Group::Group(Rank& rank, const GroupOptions& options)
    : state_(make_group(
          rank, api::complete_options(with_defaults_of(rank, options), rank.world_size(), rank.device().kind))) {}
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;
Group::~Group() = default;

std::size_t Group::bytes_needed(const GroupOptions& options, int world_size, Layout layout, DeviceKind device) {
  return api::bytes_needed(api::complete_options(options, world_size, device), world_size, layout, device);
}

int Group::rank() const { return use(state_).rank; }
int Group::size() const { return use(state_).size; }
const GroupOptions& Group::options() const { return use(state_).options; }
int Group::local_experts() const { return options().placement.local_experts(rank()); }

Dispatched Group::dispatch(ConstTensorView x, ConstTensorView top_k_ids, const DispatchOptions& options,
                           Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  require_none_pending(state.dispatches(), "dispatch");
  return state.run(api::check_dispatch(state.facts(), x, top_k_ids, options), stream);
}

Dispatched Group::dispatch(ConstTensorView x, const Route& route, const PayloadOptions& options, Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  require_none_pending(state.dispatches(), "dispatch");
  return state.run(api::check_routed_dispatch(state.facts(), x, route, options), stream);
}

PendingDispatch Group::dispatch_send(ConstTensorView x, ConstTensorView top_k_ids, const DispatchOptions& options,
                                     Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  return {state_, state.send(api::check_dispatch(state.facts(), x, top_k_ids, options), stream)};
}

PendingDispatch Group::dispatch_send(ConstTensorView x, const Route& route, const PayloadOptions& options,
                                     Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  return {state_, state.send(api::check_routed_dispatch(state.facts(), x, route, options), stream)};
}

Route Group::route(ConstTensorView top_k_ids, const RouteOptions& options, Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  require_none_pending(state.dispatches(), "route");
  return state.run(api::check_route(state.facts(), top_k_ids, options), stream).route;
}

Route Group::route_from_mask(ConstTensorView mask, const RouteOptions& options, Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  require_none_pending(state.dispatches(), "route_from_mask");
  return state.run(api::check_route_from_mask(state.facts(), mask, options), stream).route;
}

Combined Group::combine(ConstTensorView y, const Route& route, TensorView out, const CombineOptions& options,
                        Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  require_none_pending(state.combines(), "combine");
  return state.run(api::check_combine(state.facts(), y, route, out, options), stream);
}

PendingCombine Group::combine_send(ConstTensorView y, const Route& route, TensorView out, const CombineOptions& options,
                                   Stream stream) {
  GroupState& state = use(state_);
  state.prepare_operation();
  return {state_, state.send(api::check_combine(state.facts(), y, route, out, options), stream)};
}

Tensor Group::allocate(std::initializer_list<std::int64_t> shape, DType dtype, Stream stream) {
  return use(state_).allocate(shape, dtype, stream);
}

void Group::grow_heap(std::size_t bytes) { use(state_).grow_heap(bytes); }

Recovery Group::recover() { return use(state_).recover(); }
Recovery Group::last_recovery() const { return use(state_).last_recovery(); }
Recovery Group::rejoin() { return use(state_).rejoin(); }
bool Group::is_suspended() const { return use(state_).is_suspended(); }
std::vector<int> Group::masked_ranks() const { return use(state_).masked_ranks(); }

void Group::set_timeout(std::chrono::nanoseconds timeout) {
  api::require(timeout.count() > 0, "set_timeout of {} ns; more than 0", timeout.count());
  use(state_).set_timeout(timeout);
}

GroupStatistics Group::statistics() const { return use(state_).statistics(); }
void Group::set_wait_statistics(bool kept) { use(state_).set_wait_statistics(kept); }
WaitStatistics Group::wait_statistics() const { return use(state_).wait_statistics(); }

void Group::abort(std::string_view reason) { use(state_).abort(reason); }

}  // namespace railyard
