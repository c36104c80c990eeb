// SPDX-License-Identifier: Apache-2.0
#include "low_latency/host_dispatch.hpp"

#include "codecs/copy.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <array>
#include <span>

namespace railyard::low_latency {

using routing::RouteState;
using transports::DispatchOperation;
using transports::Grant;
using transports::Stage;

HostDispatch::HostDispatch(const GroupOptions& options, transports::DispatchSteps& steps,
                           transports::PeerExchange& exchange)
    : steps_(steps),
      exchange_(exchange),
      layout_(WireLayout::of(exchange.num_ranks(), options.max_in_flight, options.max_tokens, options.max_top_k,
                             options.hidden, options.row_dtype)) {
  ordinals_.resize(static_cast<std::size_t>(exchange.num_ranks()));
  rows_.resize(static_cast<std::size_t>(std::max(exchange.num_ranks(), options.max_top_k)));
  scales_.resize(rows_.size());
  if (layout_.bytes == 0) return;
  wire_ = exchange.heap().allocate(layout_.bytes);
  if (!wire_) {
    throw Error(ErrorCode::heap_exhausted,
                diagnostics::format("a heap of {} bytes has no room for {} bytes of wire slots",
                                    exchange.heap().usage().bytes, layout_.bytes));
  }
}

std::uint64_t HostDispatch::send(DispatchOperation& operation) {
  steps_.start(operation);
  exchange_.enter(Stage::write, operation.turn);
  const std::uint64_t wire_bytes = write_slots(operation);
  codecs::store_fence();
  exchange_.signal_arrival(operation.turn);
  steps_.publish(operation);
  return wire_bytes;
}

Dispatched HostDispatch::receive(DispatchOperation& operation) {
  exchange_.resume(Stage::exchange, operation.turn);
  steps_.agree(operation);
  exchange_.wait_arrivals(operation.turn);
  exchange_.enter(Stage::place, operation.turn);
  place_rows(operation);
  return steps_.finish(operation);
}

std::uint64_t HostDispatch::write_slots(const DispatchOperation& operation) {
  const transports::DispatchRequest& call = operation.request;
  const routing::Entries& entries = operation.route.state()->entries;
  const auto top_k = static_cast<std::size_t>(entries.width);
  const std::size_t wire_offset = wire_ ? wire_.state()->offset() : 0;
  const auto* weights = static_cast<const float*>(call.weights.data());
  if (call.sends_rows()) writer_.begin(operation);
  std::fill(ordinals_.begin(), ordinals_.end(), 0);
  std::uint64_t remote_rows = 0;
  for (std::int64_t token = 0; token < entries.num_tokens; ++token) {
    std::array<int, 32> ranks{};
    std::size_t num_ranks = 0;
    for (const std::int32_t expert : entries.of_token(token)) {
      if (expert < 0) continue;
      const int rank = steps_.placement().rank_of(expert);
      if (std::find(ranks.begin(), ranks.begin() + num_ranks, rank) == ranks.begin() + num_ranks) {
        ranks[num_ranks++] = rank;
      }
    }
    std::size_t num_rows = 0;
    for (std::size_t index = 0; index < num_ranks; ++index) {
      const int rank = ranks[index];
      std::byte* const slot = layout_.slot(exchange_.base(rank) + wire_offset, operation.turn.slot, exchange_.rank(),
                                           ordinals_[static_cast<std::size_t>(rank)]++);
      *reinterpret_cast<std::int32_t*>(slot) = static_cast<std::int32_t>(token);
      fill_targets(operation, token, rank, layout_.targets(slot));
      if (call.weights.defined()) {
        std::copy_n(weights + static_cast<std::size_t>(token) * top_k, top_k, layout_.weights(slot));
      }
      remote_rows += rank != exchange_.rank();
      if (!crosses(operation, rank)) continue;
      rows_[num_rows] = layout_.row(slot);
      scales_[num_rows] = layout_.scales(slot, operation.shape);
      ++num_rows;
    }
    if (call.sends_rows() && num_rows > 0) writer_.write(token, places(num_rows));
  }
  return remote_rows * (operation.shape.row_bytes + operation.shape.scale_bytes);
}

void HostDispatch::fill_targets(const DispatchOperation& operation, std::int64_t token, int rank,
                                std::int32_t* targets) const {
  const RouteState& state = *operation.route.state();
  if (operation.request.makes_route()) return state.entries.local_ids(token, steps_.placement(), rank, targets);
  std::fill_n(targets, state.width(), -1);
  for (const routing::Transfer& transfer : state.of_token(token)) {
    if (transfer.rank == rank) targets[transfer.k] = transfer.row;  // kLostRow is -1
  }
}

void HostDispatch::place_rows(const DispatchOperation& operation) {
  const RouteState& state = *operation.route.state();
  if (state.layout == Layout::rank_major) {
    next_row_.assign(1, 0);
  } else {
    next_row_.assign(state.expert_offsets.begin(), state.expert_offsets.end() - 1);
  }
  std::byte* const wire = wire_ ? wire_.state()->data() : nullptr;
  for (int source = 0; source < exchange_.num_ranks(); ++source) {
    const std::int64_t count = state.tokens_from[static_cast<std::size_t>(source)];
    for (std::int64_t ordinal = 0; ordinal < count; ++ordinal) {
      place_slot(operation, source, layout_.slot(wire, operation.turn.slot, source, ordinal));
    }
  }
}

void HostDispatch::place_slot(const DispatchOperation& operation, int source, std::byte* slot) {
  const transports::DispatchRequest& call = operation.request;
  const RouteState& state = *operation.route.state();
  const routing::RowShape& shape = operation.shape;
  const Grant& grant = operation.grants[static_cast<std::size_t>(exchange_.rank())];
  const std::int32_t* const targets = layout_.targets(slot);
  const auto token = *reinterpret_cast<const std::int32_t*>(slot);
  std::size_t num_rows = 0;
  for (int k = 0; k < state.width(); ++k) {
    if (targets[k] < 0) continue;
    const std::int64_t row = call.makes_route() ? next_row(state, targets[k]) : targets[k];
    if (row >= 0) {
      const transports::PlacedRow placed{
          .grant = &grant,
          .row = row,
          .origin = {token, static_cast<std::int16_t>(source), static_cast<std::int16_t>(k)},
          .local_ids = call.makes_route() ? targets : known_ids(state, row)};
      if (grant.metadata) transports::write_metadata(operation, placed);
      if (grant.payload && call.weights.defined()) transports::write_weights(operation, placed, layout_.weights(slot));
      if (grant.payload) {
        const auto index = static_cast<std::size_t>(row);
        rows_[num_rows] = grant.payload + grant.payload_layout.rows_offset + index * shape.row_pitch;
        scales_[num_rows] = grant.payload + grant.payload_layout.scales_offset + index * shape.scale_pitch;
        ++num_rows;
      }
    }
    if (state.layout == Layout::rank_major) break;  // one row for all entries
  }
  if (num_rows == 0) return;
  const transports::RowPlaces there = places(num_rows);
  if (!crosses(operation, source)) return writer_.write(token, there);
  codecs::copy_row_to(there.rows, layout_.row(slot), shape.row_bytes);
  if (shape.num_scales > 0) {
    codecs::copy_row_to({.cached = there.scales, .streamed = {}}, layout_.scales(slot, shape), shape.scale_bytes);
  }
}

bool HostDispatch::crosses(const DispatchOperation& operation, int rank) const {
  return rank != exchange_.rank() || !operation.request.whole || writer_.encodes();
}

transports::RowPlaces HostDispatch::places(std::size_t count) const {
  return {.rows = {.cached = std::span(rows_).first(count), .streamed = {}}, .scales = std::span(scales_).first(count)};
}

// The next row of a local expert's group (rank_major: of this rank), -1 beyond the capacity.
std::int64_t HostDispatch::next_row(const RouteState& state, std::int32_t local_expert) {
  const std::int64_t capacity = state.own_capacity;
  const std::int64_t row = next_row_[state.layout == Layout::rank_major ? 0 : static_cast<std::size_t>(local_expert)]++;
  const std::int64_t end =
      state.layout == Layout::expert_slots ? (std::int64_t{local_expert} + 1) * capacity : capacity;
  return row < end ? row : -1;
}

// The ids that the route's own dispatch delivered with a row.
const std::int32_t* HostDispatch::known_ids(const RouteState& state, std::int64_t row) {
  const auto* const ids = static_cast<const std::int32_t*>(state.expert_ids.data());
  return state.layout == Layout::rank_major ? ids + row * state.width() : ids;
}

}  // namespace railyard::low_latency
