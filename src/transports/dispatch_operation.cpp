// SPDX-License-Identifier: Apache-2.0
#include "transports/dispatch_operation.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace railyard::transports {
namespace {

std::int64_t rows_granted(Layout layout, std::int64_t capacity, int local_experts) {
  return layout == Layout::expert_slots ? capacity * local_experts : capacity;
}

routing::RowShape shape_of(const DispatchRequest& request, int hidden) {
  if (!request.sends_rows()) return {};
  if (request.codec) return routing::RowShape::of(*request.codec, hidden);
  return routing::RowShape::exact(request.x.dtype(), hidden,
                                  request.scales.defined() ? std::optional(request.scales.dtype()) : std::nullopt);
}

// Tensors in a granted block. Without a block the capacity is 0, and so is the address.
struct BlockTensors {
  const Lease& lease;
  Layout layout;
  std::int64_t capacity;
  int local_experts;

  [[nodiscard]] Tensor rows(std::size_t offset, DType dtype, std::int64_t columns, std::size_t pitch) const {
    const auto stride = static_cast<std::int64_t>(pitch / size_of(dtype));
    if (layout == Layout::expert_slots) {
      return {
          TensorView::strided(data(offset), dtype, {local_experts, capacity, columns}, {capacity * stride, stride, 1}),
          lease};
    }
    return {TensorView::rows(data(offset), dtype, capacity, columns, stride), lease};
  }

  // One value per row, or `top_k` of them in rank_major.
  [[nodiscard]] Tensor per_entry(std::size_t offset, DType dtype, int top_k) const {
    if (layout == Layout::rank_major)
      return rows(offset, dtype, top_k, static_cast<std::size_t>(top_k) * size_of(dtype));
    return per_row(offset, dtype);
  }

  [[nodiscard]] Tensor per_row(std::size_t offset, DType dtype) const {
    if (layout == Layout::expert_slots) return {TensorView(data(offset), dtype, {local_experts, capacity}), lease};
    return {TensorView(data(offset), dtype, {capacity}), lease};
  }

  [[nodiscard]] std::byte* data(std::size_t offset) const { return lease ? lease.state()->data() + offset : nullptr; }
};

// Statistics that run for months stay at the largest value.
std::int32_t add_saturating(std::int32_t sum, std::int32_t count) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::min(std::int64_t{sum} + count, kMost));
}

// Entries of the rows that were delivered, where rank_major rows were lost.
void count_delivered_entries(routing::RouteState& state) {
  std::fill(state.expert_counts.begin(), state.expert_counts.end(), 0);
  const std::span<const std::int32_t> ids = state.expert_ids.as<std::int32_t>();
  for (const std::int32_t id : ids.first(static_cast<std::size_t>(state.num_rows * state.width()))) {
    if (id >= 0) ++state.expert_counts[static_cast<std::size_t>(id)];
  }
}

}  // namespace

DispatchSteps::DispatchSteps(const GroupOptions& options, const Placement& placement, PeerExchange& exchange,
                             std::shared_ptr<routing::RoutePool> routes, bool compare_all, std::uint64_t first_route)
    : options_(options),
      placement_(placement),
      exchange_(exchange),
      routes_(std::move(routes)),
      compare_all_(compare_all),
      next_route_(first_route) {
  const auto num_ranks = static_cast<std::size_t>(exchange.num_ranks());
  sources_.resize(num_ranks);
  if (exchange.peers().size() == num_ranks) return;
  takes_part_.assign(num_ranks, false);
  for (const int peer : exchange.peers()) takes_part_[static_cast<std::size_t>(peer)] = true;
}

void DispatchSteps::prepare(DispatchRequest&& request, DispatchOperation& operation) {
  operation.request = std::move(request);
  const DispatchRequest& call = operation.request;
  operation.shape = shape_of(call, options_.hidden);
  if (call.makes_route()) {
    routing::RouteState* const state = routes_->take();
    operation.route = Route(state);
    state->id = next_route_;
    state->layout = call.layout;
    state->alignment = call.alignment;
    state->max_tokens = call.num_tokens;
    if (call.operation == Operation::route_from_mask) {
      routing::scan_mask(call.targets, call.num_tokens, placement_, state->entries);
    } else {
      routing::scan_ids(call.targets, call.num_tokens, placement_, state->entries);
    }
    if (!takes_part_.empty()) routing::leave_out_ranks(takes_part_, placement_, state->entries);
  } else {
    operation.route = call.route;
  }
  const routing::RouteState& state = *operation.route.state();
  operation.ids_per_row = state.from_mask() ? 0 : state.layout == Layout::rank_major ? state.width() : 1;
  operation.descriptor = {.operation = call.operation,
                          .layout = state.layout,
                          .row_dtype = operation.shape.dtype,
                          .scale_dtype = operation.shape.scale_dtype,
                          .has_scales = operation.shape.num_scales > 0,
                          .has_weights = call.weights.defined(),
                          .top_k = static_cast<std::uint16_t>(state.width()),
                          .alignment = static_cast<std::uint32_t>(state.alignment),
                          .route_id = state.id};
  if (compare_all_) {
    operation.descriptor.compares_all = true;
    operation.descriptor.tail = call.tail;
    operation.descriptor.capacity = call.capacity;
  }
  lease_blocks(operation);
}

void DispatchSteps::lease_blocks(DispatchOperation& operation) {
  const DispatchRequest& call = operation.request;
  const routing::RouteState& state = *operation.route.state();
  const int local_experts = placement_.local_experts(exchange_.rank());
  std::int64_t capacity = 0;
  if (!call.makes_route()) {
    capacity = state.own_capacity;
  } else if (call.capacity > 0) {
    capacity = call.capacity;
  } else {
    capacity = routing::default_capacity(call.layout, exchange_.num_ranks(), options_.max_tokens, state.width(),
                                         local_experts, call.alignment);
  }
  const std::int64_t rows = rows_granted(state.layout, capacity, local_experts);
  const int weights_per_row = call.weights.defined() ? operation.ids_per_row : 0;
  const std::size_t payload_bytes =
      call.sends_rows() ? routing::PayloadLayout::of(rows, operation.shape, weights_per_row).bytes : 0;
  const std::size_t metadata_bytes =
      call.makes_route() ? routing::MetadataLayout::of(rows, operation.ids_per_row).bytes : 0;

  symmetric_memory::Heap& heap = exchange_.heap();
  operation.payload = payload_bytes > 0 ? heap.allocate(payload_bytes) : Lease{};
  operation.metadata = metadata_bytes > 0 ? heap.allocate(metadata_bytes) : Lease{};
  notice_ = {.descriptor = operation.descriptor, .capacity = capacity};
  notice_.rows_needed = call.makes_route() ? 0 : state.num_rows;
  notice_.invalid_ids = call.makes_route() ? state.entries.invalid_ids : 0;
  notice_.first_invalid_id = state.entries.first_invalid_id;
  const bool short_of_memory = (payload_bytes > 0 && !operation.payload) || (metadata_bytes > 0 && !operation.metadata);
  if (short_of_memory) {
    operation.payload = {};
    operation.metadata = {};
    const symmetric_memory::HeapUsage usage = heap.usage();
    notice_.code = ErrorCode::heap_exhausted;
    notice_.capacity = 0;
    notice_.wanted_bytes = payload_bytes + metadata_bytes;
    notice_.free_bytes = usage.bytes - usage.in_use;
  }
  if (operation.payload) notice_.payload_offset = operation.payload.state()->offset();
  if (operation.metadata) notice_.metadata_offset = operation.metadata.state()->offset();
}

void DispatchSteps::start(DispatchOperation& operation) {
  if (operation.request.makes_route()) ++next_route_;
  operation.turn = exchange_.begin(operation.request.operation);
  exchange_.wait_slot(operation.turn);
}

void DispatchSteps::publish(const DispatchOperation& operation) {
  const bool new_route = operation.request.makes_route();
  exchange_.publish(operation.turn, notice_,
                    new_route ? std::span<const std::int32_t>(operation.route.state()->entries.counts)
                              : std::span<const std::int32_t>{});
}

void DispatchSteps::agree(DispatchOperation& operation) {
  exchange_.wait_notices(operation.turn, operation.descriptor);
  if (operation.request.makes_route()) adopt_route(operation);
  operation.status = operation.route.state()->status;
  if (!operation.request.makes_route()) report_exhausted_payload(operation);
  find_grants(operation);
}

void DispatchSteps::adopt_route(DispatchOperation& operation) {
  routing::RouteState& state = *operation.route.state();
  for (int rank = 0; rank < exchange_.num_ranks(); ++rank) {
    const Notice& notice = exchange_.notice(operation.turn, rank);
    sources_[static_cast<std::size_t>(rank)] = {.counts = exchange_.counts(operation.turn, rank),
                                                .capacity = notice.capacity,
                                                .heap_exhausted = notice.code == ErrorCode::heap_exhausted,
                                                .wanted_bytes = notice.wanted_bytes,
                                                .free_bytes = notice.free_bytes,
                                                .invalid_ids = notice.invalid_ids,
                                                .first_invalid_id = notice.first_invalid_id};
  }
  resolver_.resolve({.placement = &placement_,
                     .rank = exchange_.rank(),
                     .overflow = options_.overflow,
                     .levels = options_.levels,
                     .order = options_.order},
                    sources_, state);
  operation.needs_recount = resolver_.needs_recount();
  const int local_experts = placement_.local_experts(exchange_.rank());
  const std::int64_t capacity = state.own_capacity;
  const auto layout =
      routing::MetadataLayout::of(rows_granted(state.layout, capacity, local_experts), operation.ids_per_row);
  const BlockTensors tensors{operation.metadata, state.layout, capacity, local_experts};
  state.origins = tensors.per_row(layout.origins_offset, DType::int64);
  state.expert_ids = state.from_mask() ? Tensor{} : tensors.per_entry(layout.ids_offset, DType::int32, state.width());
}

void DispatchSteps::report_exhausted_payload(DispatchOperation& operation) {
  Status exhausted{.code = ErrorCode::heap_exhausted};
  for (int rank = 0; rank < exchange_.num_ranks(); ++rank) {
    const Notice& notice = exchange_.notice(operation.turn, rank);
    if (notice.code != ErrorCode::heap_exhausted) continue;
    if (exhausted.rank < 0) {
      exhausted.rank = rank;
      exhausted.needed = static_cast<std::int64_t>(notice.wanted_bytes);
      exhausted.capacity = static_cast<std::int64_t>(notice.free_bytes);
    }
    exhausted.count += notice.rows_needed;
  }
  if (exhausted.rank >= 0) operation.status = exhausted;
}

void DispatchSteps::find_grants(DispatchOperation& operation) {
  const DispatchRequest& call = operation.request;
  operation.grants.resize(static_cast<std::size_t>(exchange_.num_ranks()));
  for (int rank = 0; rank < exchange_.num_ranks(); ++rank) {
    const Notice& notice = exchange_.notice(operation.turn, rank);
    Grant& grant = operation.grants[static_cast<std::size_t>(rank)];
    grant = {};
    if (notice.capacity == 0) continue;
    const std::int64_t rows =
        rows_granted(operation.descriptor.layout, notice.capacity, placement_.local_experts(rank));
    if (call.sends_rows()) {
      grant.payload = exchange_.base(rank) + notice.payload_offset;
      grant.payload_layout = routing::PayloadLayout::of(rows, operation.shape,
                                                        operation.descriptor.has_weights ? operation.ids_per_row : 0);
    }
    if (call.makes_route()) {
      grant.metadata = exchange_.base(rank) + notice.metadata_offset;
      grant.metadata_layout = routing::MetadataLayout::of(rows, operation.ids_per_row);
    }
  }
}

Dispatched DispatchSteps::finish(DispatchOperation& operation) {
  routing::RouteState& state = *operation.route.state();
  const TensorView& expert_load = operation.request.expert_load;
  fill_unused_rows(operation);
  if (operation.request.makes_route()) {
    if (operation.needs_recount) count_delivered_entries(state);
    if (expert_load.defined()) {
      const std::span<std::int32_t> load = expert_load.as<std::int32_t>();
      for (std::size_t local = 0; local < load.size(); ++local)
        load[local] = add_saturating(load[local], state.expert_counts[local]);
    }
  }
  Dispatched result = result_of(operation);
  operation.route = {};
  operation.request.route = {};
  operation.payload = {};
  operation.metadata = {};
  exchange_.signal_received(operation.turn);
  return result;
}

Dispatched DispatchSteps::result_of(const DispatchOperation& operation) const {
  const routing::RouteState& state = *operation.route.state();
  Dispatched result;
  result.route = operation.route;
  result.event = Event(operation.status);
  if (!operation.request.sends_rows()) return result;
  const routing::RowShape& shape = operation.shape;
  const auto rank = static_cast<std::size_t>(exchange_.rank());
  // Without experts there is no block, but still a capacity; without memory there is neither.
  const bool exhausted = exchange_.notice(operation.turn, exchange_.rank()).code == ErrorCode::heap_exhausted;
  const BlockTensors tensors{operation.payload, state.layout, exhausted ? 0 : state.own_capacity,
                             placement_.local_experts(exchange_.rank())};
  const routing::PayloadLayout& layout = operation.grants[rank].payload_layout;
  result.rows = tensors.rows(layout.rows_offset, shape.dtype, options_.hidden, shape.row_pitch);
  if (shape.num_scales > 0) {
    result.scales = tensors.rows(layout.scales_offset, shape.scale_dtype, shape.num_scales, shape.scale_pitch);
  }
  if (operation.descriptor.has_weights) {
    result.weights = tensors.per_entry(layout.weights_offset, DType::fp32, state.width());
  }
  return result;
}

void DispatchSteps::fill_unused_rows(const DispatchOperation& operation) const {
  const routing::RouteState& state = *operation.route.state();
  const auto num_local = static_cast<std::int64_t>(state.expert_counts.size());
  const std::int64_t capacity = state.own_capacity;
  const Tail tail = operation.request.tail;
  switch (state.layout) {
    case Layout::rank_major:
      fill_rows(operation, state.num_rows, capacity, tail);
      break;
    case Layout::expert_major: {
      for (std::size_t local = 0; local < state.expert_counts.size(); ++local) {
        fill_rows(operation, state.expert_offsets[local] + state.expert_counts[local], state.expert_offsets[local + 1],
                  Tail::zero);
      }
      fill_rows(operation, state.expert_offsets.back(), capacity, tail);
      break;
    }
    case Layout::expert_slots:
      for (std::int64_t local = 0; local < num_local; ++local) {
        fill_rows(operation, local * capacity + state.expert_counts[static_cast<std::size_t>(local)],
                  (local + 1) * capacity, tail);
      }
      break;
  }
}

void DispatchSteps::fill_rows(const DispatchOperation& operation, std::int64_t begin, std::int64_t end,
                              Tail payload) const {
  if (begin >= end) return;
  const Grant& grant = operation.grants[static_cast<std::size_t>(exchange_.rank())];
  const auto first = static_cast<std::size_t>(begin);
  const auto count = static_cast<std::size_t>(end - begin);
  const auto values = count * static_cast<std::size_t>(operation.ids_per_row);
  const auto first_value = first * static_cast<std::size_t>(operation.ids_per_row);
  if (grant.metadata) {
    std::fill_n(reinterpret_cast<Origin*>(grant.metadata + grant.metadata_layout.origins_offset) + first, count,
                Origin{});
    std::fill_n(reinterpret_cast<std::int32_t*>(grant.metadata + grant.metadata_layout.ids_offset) + first_value,
                values, -1);
  }
  if (!grant.payload) return;
  if (operation.descriptor.has_weights) {
    std::fill_n(reinterpret_cast<float*>(grant.payload + grant.payload_layout.weights_offset) + first_value, values,
                0.0F);
  }
  if (payload == Tail::untouched) return;
  const int byte = payload == Tail::zero ? 0 : 0xFF;
  const routing::RowShape& shape = operation.shape;
  std::memset(grant.payload + grant.payload_layout.rows_offset + first * shape.row_pitch, byte,
              count * shape.row_pitch);
  if (shape.num_scales > 0) {
    std::memset(grant.payload + grant.payload_layout.scales_offset + first * shape.scale_pitch, byte,
                count * shape.scale_pitch);
  }
}

}  // namespace railyard::transports
