// SPDX-License-Identifier: Apache-2.0
#include "api/require.hpp"
#include "api/validation.hpp"
#include "low_latency/wire_layout.hpp"
#include "routing/block_layout.hpp"
#include "routing/route_state.hpp"

#include <cstdint>
#include <limits>

namespace railyard::api {

using transports::DispatchRequest;
using transports::Operation;

namespace {

constexpr int kMaxAlignment = 65536;
constexpr std::int64_t kMaxRows = std::numeric_limits<std::int32_t>::max();

bool is_row_type(DType dtype) { return dtype == DType::bf16 || dtype == DType::fp16 || dtype == DType::fp32; }

bool on_host(const GroupFacts& facts) { return facts.device.kind == DeviceKind::host; }

std::int64_t read_num_tokens(const GroupFacts& facts, const std::int32_t* word, std::int64_t rows) {
  const std::size_t past = reinterpret_cast<std::uintptr_t>(word) % alignof(std::int32_t);
  require(past == 0, "num_tokens is {} bytes past a multiple of {}", past, alignof(std::int32_t));
  if (!word || !on_host(facts)) return rows;
  require(*word >= 0 && *word <= rows, "num_tokens is {}; 0 to {}, the rows of the ids, are legal", *word, rows);
  return *word;
}

void check_targets(const GroupFacts& facts, const char* what, const ConstTensorView& targets, std::int64_t columns) {
  require(targets.dimensions() == 2, "{} have {} dimensions; [tokens, {}] is expected", what, targets.dimensions(),
          columns);
  require(targets.size(0) <= facts.options.max_tokens, "{} have {} rows; max_tokens is {}", what, targets.size(0),
          facts.options.max_tokens);
  check_contiguous(facts, what, targets);
}

void check_ids(const GroupFacts& facts, const ConstTensorView& ids) {
  require(ids.dtype() == DType::int32 || ids.dtype() == DType::int64, "top_k_ids are {}; int32 or int64 is expected",
          name(ids.dtype()));
  check_targets(facts, "top_k_ids", ids, facts.options.max_top_k);
  require(ids.size(1) >= 1 && ids.size(1) <= facts.options.max_top_k, "top_k_ids have {} columns; 1 to {} (max_top_k)",
          ids.size(1), facts.options.max_top_k);
}

// Layout, alignment, capacity and statistics of a new route with `top_k` columns.
void check_placement(const GroupFacts& facts, const DispatchRequest& request, int top_k) {
  const int local_experts = facts.placement.local_experts(facts.rank);
  require_enumerator("layout", request.layout, Layout::expert_slots);
  require(request.alignment >= 1 && request.alignment <= kMaxAlignment, "alignment is {}; 1 to {} are supported",
          request.alignment, kMaxAlignment);
  require(request.alignment == 1 || request.layout == Layout::expert_major,
          "alignment is {} in layout {}; only expert_major aligns groups", request.alignment, name(request.layout));
  require(request.capacity >= 0, "capacity is {}; at least 0", request.capacity);
  const int most_local = facts.placement.max_local_experts();
  const std::int64_t capacity =
      request.capacity > 0 ? request.capacity
                           : routing::default_capacity(request.layout, facts.placement.num_ranks(),
                                                       facts.options.max_tokens, top_k, most_local, request.alignment);
  const std::int64_t groups = request.layout == Layout::expert_slots ? std::max(most_local, 1) : 1;
  require(capacity <= kMaxRows / groups,
          "capacity is {} rows, times {} groups of rows; at most {} rows per rank are supported", capacity, groups,
          kMaxRows);
  if (!request.expert_load.defined()) return;
  require(request.expert_load.dtype() == DType::int32 && request.expert_load.dimensions() == 1 &&
              request.expert_load.size(0) == local_experts,
          "expert_load is {} with {} elements; int32 [{}], one per local expert, is expected",
          name(request.expert_load.dtype()), request.expert_load.count(), local_experts);
  check_contiguous(facts, "expert_load", request.expert_load);
}

void check_scales(const GroupFacts& facts, const DispatchRequest& request) {
  const ConstTensorView& scales = request.scales;
  const std::int64_t per_row = (facts.options.hidden + 127) / 128;
  require(request.x.dtype() == DType::fp8_e4m3, "scales are given, but x is {}; only fp8_e4m3 rows have scales",
          name(request.x.dtype()));
  require(scales.dtype() == DType::fp32 || scales.dtype() == DType::uint8,
          "scales are {}; fp32, or uint8 for UE8M0, is expected", name(scales.dtype()));
  require(scales.dimensions() == 2 && scales.size(0) >= request.num_tokens && scales.size(1) == per_row,
          "scales have shape [{}, {}]; [{}, {}] is expected", scales.dimensions() > 0 ? scales.size(0) : 0,
          scales.dimensions() > 1 ? scales.size(1) : 0, request.num_tokens, per_row);
  require(scales.data() || request.num_tokens == 0, "scales are null with {} tokens", request.num_tokens);
  check_device(facts, "scales", scales);
  check_aligned("scales", scales);
}

void check_codec(const DispatchRequest& request) {
  if (!request.codec) return;
  const Codec codec = *request.codec;
  require_enumerator("codec", codec, Codec::fp8_e4m3_ue8m0);
  if (request.x.dtype() == DType::fp8_e4m3) {
    require(block_size(codec) > 0 && request.scales.defined() && request.scales.dtype() == scale_type(codec),
            "x is fp8_e4m3 already; codec {} needs scales of type {}", name(codec), name(scale_type(codec)));
    return;
  }
  require(is_row_type(request.x.dtype()), "codec {} encodes bf16, fp16 and fp32 rows; x is {}", name(codec),
          name(request.x.dtype()));
}

// Rows and what goes with them, for `tokens` tokens of a route with `top_k` columns.
void check_payload(const GroupFacts& facts, const DispatchRequest& request, int top_k, bool from_mask) {
  const ConstTensorView& x = request.x;
  require_enumerator("tail", request.tail, Tail::poison);
  require_enumerator("x's dtype", x.dtype(), DType::int64);
  check_matrix(facts, "x", x, facts.options.hidden);
  require(x.data() || request.num_tokens == 0, "x is null with {} tokens", request.num_tokens);
  if (request.scales.defined()) check_scales(facts, request);
  check_codec(request);
  if (request.weights.defined()) {
    require(!from_mask, "weights are given for a route made from a mask, which has no entries");
    require(request.weights.dtype() == DType::fp32 && request.weights.dimensions() == 2 &&
                request.weights.size(0) >= request.num_tokens && request.weights.size(1) == top_k,
            "weights are {} with {} elements; fp32 [{}, {}] is expected", name(request.weights.dtype()),
            request.weights.count(), request.num_tokens, top_k);
    check_contiguous(facts, "weights", request.weights);
  }
  if (facts.options.mode == Mode::low_latency) {
    const DType row_dtype = request.codec ? element_type(*request.codec) : x.dtype();
    require(size_of(row_dtype) <= size_of(facts.options.row_dtype),
            "rows travel as {}, but the group's wire slots were made for row_dtype {}", name(row_dtype),
            name(facts.options.row_dtype));
  }
}

// What the CUDA backend does not do.
void check_cuda_dispatch(const GroupFacts& facts, const DispatchRequest& request) {
  if (on_host(facts)) return;
  if (request.layout != Layout::rank_major) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("layout {} on CUDA; GPUs have rank_major so far", name(request.layout)));
  }
  if (!request.codec || element_type(*request.codec) == request.x.dtype()) return;
  if (*request.codec != Codec::fp8_e4m3 || request.x.dtype() != DType::bf16) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("codec {} for {} rows on CUDA; GPUs copy rows exactly, or encode bf16 rows as "
                                    "fp8_e4m3",
                                    name(*request.codec), name(request.x.dtype())));
  }
}

}  // namespace

void check_device(const GroupFacts& facts, const char* what, const ConstTensorView& view) {
  require(view.device() == facts.device, "{} is on {}:{}; rank {} is on {}:{}", what, name(view.device().kind),
          view.device().index, facts.rank, name(facts.device.kind), facts.device.index);
}

void check_aligned(const char* what, const ConstTensorView& view) {
  const std::size_t past = reinterpret_cast<std::uintptr_t>(view.data()) % size_of(view.dtype());
  require(past == 0, "{} start {} bytes past a multiple of {}, the size of a {} element", what, past,
          size_of(view.dtype()), name(view.dtype()));
}

void check_contiguous(const GroupFacts& facts, const char* what, const ConstTensorView& view) {
  require(view.contiguous(), "{} must be contiguous; the strides are [{}, {}]", what, view.stride(0),
          view.dimensions() > 1 ? view.stride(1) : 0);
  require(view.data() || view.count() == 0, "{} are null with {} elements", what, view.count());
  check_device(facts, what, view);
  check_aligned(what, view);
}

void check_matrix(const GroupFacts& facts, const char* what, const ConstTensorView& view, std::int64_t columns) {
  require(view.dimensions() == 2, "{} has {} dimensions; [rows, {}] is expected", what, view.dimensions(), columns);
  require(view.size(1) == columns, "{} has {} columns; {} are expected", what, view.size(1), columns);
  require(view.size(1) == 1 || view.stride(1) == 1, "{} has element stride {}; 1 is expected", what, view.stride(1));
  require(view.size(0) <= 1 || view.stride(0) >= columns, "{} has row stride {}; at least {} is expected", what,
          view.stride(0), columns);
  check_device(facts, what, view);
  check_aligned(what, view);
}

void check_own_route(const GroupFacts& facts, const Route& route) {
  if (!route) throw Error(ErrorCode::destroyed, "the route holds nothing: default-constructed or moved from");
  require(route.state()->owner() == facts.routes, "the route belongs to another group");
  require(route.state()->id >= facts.first_route,
          "the route was made before the group recovered, among other ranks; make it anew");
}

DispatchRequest check_dispatch(const GroupFacts& facts, const ConstTensorView& x, const ConstTensorView& top_k_ids,
                               const DispatchOptions& options) {
  check_ids(facts, top_k_ids);
  DispatchRequest request{.operation = Operation::dispatch,
                          .x = x,
                          .targets = top_k_ids,
                          .weights = options.weights,
                          .scales = options.scales,
                          .codec = options.codec,
                          .tail = options.tail,
                          .layout = options.layout,
                          .alignment = options.alignment,
                          .capacity = options.capacity,
                          .num_tokens = read_num_tokens(facts, options.num_tokens, top_k_ids.size(0)),
                          .num_tokens_word = on_host(facts) ? nullptr : options.num_tokens,
                          .expert_load = options.expert_load};
  const int top_k = static_cast<int>(top_k_ids.size(1));
  check_placement(facts, request, top_k);
  require(x.dimensions() != 2 || x.size(0) == top_k_ids.size(0), "x has {} rows, top_k_ids have {}", x.size(0),
          top_k_ids.size(0));
  check_payload(facts, request, top_k, false);
  check_cuda_dispatch(facts, request);
  return request;
}

DispatchRequest check_routed_dispatch(const GroupFacts& facts, const ConstTensorView& x, const Route& route,
                                      const PayloadOptions& options) {
  check_own_route(facts, route);
  DispatchRequest request{.operation = Operation::routed_dispatch,
                          .x = x,
                          .weights = options.weights,
                          .scales = options.scales,
                          .codec = options.codec,
                          .tail = options.tail,
                          .layout = route.layout(),
                          .alignment = route.alignment(),
                          .num_tokens = on_host(facts) ? route.num_tokens() : route.state()->max_tokens,
                          .route = route};
  require(x.dimensions() != 2 || x.size(0) >= request.num_tokens, "x has {} rows, the route {} tokens", x.size(0),
          request.num_tokens);
  check_payload(facts, request, route.top_k(), route.state()->from_mask());
  check_cuda_dispatch(facts, request);
  return request;
}

DispatchRequest check_route(const GroupFacts& facts, const ConstTensorView& top_k_ids, const RouteOptions& options) {
  check_ids(facts, top_k_ids);
  DispatchRequest request{.operation = Operation::route,
                          .targets = top_k_ids,
                          .layout = options.layout,
                          .alignment = options.alignment,
                          .capacity = options.capacity,
                          .num_tokens = read_num_tokens(facts, options.num_tokens, top_k_ids.size(0)),
                          .num_tokens_word = on_host(facts) ? nullptr : options.num_tokens,
                          .expert_load = options.expert_load};
  check_placement(facts, request, static_cast<int>(top_k_ids.size(1)));
  check_cuda_dispatch(facts, request);
  return request;
}

DispatchRequest check_route_from_mask(const GroupFacts& facts, const ConstTensorView& mask,
                                      const RouteOptions& options) {
  if (facts.options.mode == Mode::low_latency) {
    throw Error(ErrorCode::unsupported, "route_from_mask in low_latency mode; it needs a throughput group");
  }
  if (!on_host(facts)) throw Error(ErrorCode::unsupported, "route_from_mask on CUDA; GPUs make routes from ids so far");
  if (options.layout != Layout::rank_major) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("route_from_mask with layout {}; a mask has no experts, so only "
                                    "rank_major is possible",
                                    name(options.layout)));
  }
  require(!options.expert_load.defined(), "expert_load is given for a mask, which has no experts");
  require(mask.dtype() == DType::uint8, "the mask is {}; uint8 is expected", name(mask.dtype()));
  check_targets(facts, "mask", mask, facts.placement.num_ranks());
  require(mask.size(1) == facts.placement.num_ranks(), "the mask has {} columns; {}, one per rank, are expected",
          mask.size(1), facts.placement.num_ranks());
  DispatchRequest request{.operation = Operation::route_from_mask,
                          .targets = mask,
                          .layout = options.layout,
                          .alignment = options.alignment,
                          .capacity = options.capacity,
                          .num_tokens = read_num_tokens(facts, options.num_tokens, mask.size(0))};
  check_placement(facts, request, facts.placement.num_ranks());
  return request;
}

}  // namespace railyard::api
