// SPDX-License-Identifier: Apache-2.0
#include <railyard/combine.hpp>
#include <railyard/dispatch.hpp>
#include <railyard/route.hpp>

#include "routing/route_state.hpp"

namespace railyard {
namespace {

routing::RouteState& use(routing::RouteState* state) {
  if (!state)
    throw Error(ErrorCode::destroyed, "a route was used that holds nothing: default-constructed or moved from");
  return *state;
}

// The same, once its values are on the host.
const routing::RouteState& complete(routing::RouteState* state) {
  use(state).wait();
  return *state;
}

const routing::RouteState& with_expert_counts(routing::RouteState* state) {
  use(state).wait_for_expert_counts();
  return *state;
}

ConstTensorView view_of(const std::vector<std::int32_t>& values) {
  return {values.data(), DType::int32, {static_cast<std::int64_t>(values.size())}};
}

void throw_unless_ok(const Status& status) {
  if (!status.ok()) throw Error(status.code, status.message());
}

}  // namespace

Route::Route(const Route& other) noexcept : state_(other.state_) {
  if (state_) state_->add_holder();
}

Route::~Route() {
  if (state_) state_->remove_holder();
}

Layout Route::layout() const { return use(state_).layout; }
int Route::alignment() const { return use(state_).alignment; }
int Route::top_k() const { return use(state_).width(); }
std::int64_t Route::capacity() const { return use(state_).own_capacity; }
std::int64_t Route::num_tokens() const { return complete(state_).num_tokens(); }
ConstTensorView Route::send_counts() const { return view_of(complete(state_).send_counts); }
std::int64_t Route::num_rows() const { return complete(state_).num_rows; }
ConstTensorView Route::receive_counts() const { return view_of(complete(state_).receive_counts); }
ConstTensorView Route::expert_counts() const { return view_of(with_expert_counts(state_).expert_counts); }
ConstTensorView Route::expert_offsets() const { return view_of(with_expert_counts(state_).expert_offsets); }
Tensor Route::device_expert_counts() const { return use(state_).device_expert_counts(); }
Tensor Route::expert_ids() const { return use(state_).expert_ids; }
Tensor Route::origins() const { return use(state_).origins; }
const Status& Route::status() const { return complete(state_).status; }
void Route::check() const { throw_unless_ok(status()); }
std::int64_t Route::num_dropped() const { return complete(state_).num_dropped; }

void Dispatched::check() const { throw_unless_ok(status()); }
void Combined::check() const { throw_unless_ok(status()); }

}  // namespace railyard
