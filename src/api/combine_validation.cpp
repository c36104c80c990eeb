// SPDX-License-Identifier: Apache-2.0
#include "api/require.hpp"
#include "api/validation.hpp"
#include "routing/route_state.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>

namespace railyard::api {
namespace {

bool is_row_type(DType dtype) { return dtype == DType::bf16 || dtype == DType::fp16 || dtype == DType::fp32; }

// One more than the last flat row that holds a token.
std::int64_t end_of_rows(const routing::RouteState& state) {
  if (state.layout == Layout::rank_major) return state.num_rows;
  std::int64_t end = 0;
  for (std::size_t local = 0; local < state.expert_counts.size(); ++local) {
    if (state.expert_counts[local] > 0) {
      end = std::int64_t{state.expert_offsets[local]} + state.expert_counts[local];
    }
  }
  return end;
}

// What a route asks of the tensors of a combine.
struct RouteRows {
  std::int64_t tokens = 0;  // of this rank
  std::int64_t end = 0;     // one more than the last row of y that may be read
  bool any = false;
};

// A GPU's counts are known only after a wait on the host: what there is room for stands for them where it suffices.
RouteRows rows_of(const GroupFacts& facts, routing::RouteState& state, const ConstTensorView& y) {
  if (facts.device.kind == DeviceKind::host) return {state.num_tokens(), end_of_rows(state), state.num_rows > 0};
  if (y.dimensions() == 2 && y.data() && y.size(0) >= state.own_capacity) {
    return {state.max_tokens, state.own_capacity, state.own_capacity > 0};
  }
  if (!state.counts_are_fixed()) return {state.max_tokens, state.own_capacity, state.own_capacity > 0};
  state.wait();
  return {state.max_tokens, state.num_rows, state.num_rows > 0};
}

bool inside_heap(const GroupFacts& facts, const void* data) {
  const auto* const address = static_cast<const std::byte*>(data);
  const std::byte* const base = facts.heap->base();
  return std::greater_equal<>{}(address, base) && std::less<>{}(address, base + facts.heap->limit());
}

void check_outputs_of_slots(const GroupFacts& facts, const ConstTensorView& y, const routing::RouteState& state) {
  const auto local_experts = static_cast<std::int64_t>(state.expert_counts.size());
  require(y.dimensions() == 3 && y.size(0) == local_experts && y.size(1) == state.own_capacity &&
              y.size(2) == facts.options.hidden,
          "y has {} dimensions, [{}, {}, {}]; [{}, {}, {}] is expected in expert_slots", y.dimensions(), y.size(0),
          y.size(1), y.size(2), local_experts, state.own_capacity, facts.options.hidden);
  require(y.stride(2) == 1 && y.stride(1) >= facts.options.hidden,
          "y has strides [{}, {}, {}]; rows must not overlap and their elements be adjacent", y.stride(0), y.stride(1),
          y.stride(2));
  require(!inside_heap(facts, y.data()) || y.size(0) <= 1 || y.stride(0) == y.stride(1) * y.size(1),
          "y lies in the heap with expert stride {}; capacity x row stride, {}, is expected there", y.stride(0),
          y.stride(1) * y.size(1));
}

void check_outputs(const GroupFacts& facts, const ConstTensorView& y, const routing::RouteState& state,
                   const RouteRows& rows) {
  require(is_row_type(y.dtype()), "y is {}; bf16, fp16 or fp32 is expected", name(y.dtype()));
  check_device(facts, "y", y);
  if (state.layout == Layout::expert_slots) {
    check_outputs_of_slots(facts, y, state);
  } else {
    check_matrix(facts, "y", y, facts.options.hidden);
    require(y.size(0) >= rows.end, "y has {} rows; the route's rows end at {}", y.size(0), rows.end);
  }
  check_aligned("y", y);
  require(y.data() || !rows.any, "y is null with {} rows", rows.end);
}

void check_weights(const GroupFacts& facts, const CombineOptions& options, const routing::RouteState& state) {
  if (state.layout == Layout::rank_major) {
    require(facts.options.levels == ReductionLevels::rank,
            "a rank_major row is its rank's partial sum, but this group reduces with levels none");
    require(!options.weights.defined() && !options.row_weights.defined(),
            "a rank_major row is its rank's partial sum; weights belong to the expert side, or to an expert layout");
  }
  require(!options.weights.defined() || !options.row_weights.defined(),
          "both weights and row_weights are given; one of them is possible");
  if (options.weights.defined()) {
    const ConstTensorView& weights = options.weights;
    require(weights.dtype() == DType::fp32 && weights.dimensions() == 2 && weights.size(0) >= state.num_tokens() &&
                weights.size(1) == state.width(),
            "weights are {} with {} elements; fp32 [{}, {}] is expected", name(weights.dtype()), weights.count(),
            state.num_tokens(), state.width());
    check_contiguous(facts, "weights", weights);
  }
  if (options.row_weights.defined()) {
    const ConstTensorView& weights = options.row_weights;
    const bool slots = state.layout == Layout::expert_slots;
    const std::int64_t rows =
        slots ? state.own_capacity * static_cast<std::int64_t>(state.expert_counts.size()) : end_of_rows(state);
    require(weights.dtype() == DType::fp32 && weights.count() >= rows,
            "row_weights are {} with {} elements; fp32 with {}, one per row, are expected", name(weights.dtype()),
            weights.count(), rows);
    check_contiguous(facts, "row_weights", weights);
  }
}

// Flat rows of y from the first to the last one that may be read.
std::int64_t rows_read(const ConstTensorView& y, const routing::RouteState& state, const RouteRows& rows) {
  if (!rows.any) return 0;
  return state.layout == Layout::expert_slots ? y.size(0) * y.size(1) : rows.end;
}

// From the first to the last byte of a view's first flat rows, or elements, if it has one dimension. rows > 0; a view
// bounds its strides, so that nothing overflows.
std::uint64_t bytes_of(const ConstTensorView& view, std::int64_t rows) {
  const int last = view.dimensions() - 1;
  const std::int64_t stride = last > 0 ? view.stride(last - 1) : 1;
  const std::int64_t columns = last > 0 ? view.size(last) : 1;
  return static_cast<std::uint64_t>((rows - 1) * stride + columns) * size_of(view.dtype());
}

// What lies in the heap is read there by the peers: to its end it must be of the lease in which it begins.
void check_leased(const GroupFacts& facts, const char* what, const ConstTensorView& read, std::int64_t rows) {
  if (rows == 0 || !inside_heap(facts, read.data())) return;
  const std::uint64_t wanted = bytes_of(read, rows);
  const std::size_t leased = facts.heap->leased_from(read.data());
  require(wanted <= leased, "{} lies in the heap, where {} bytes of it may be read; its lease has {} from there on",
          what, wanted, leased);
}

// The peers read it while this rank writes `out`.
void check_apart(const GroupFacts& facts, const char* what, const ConstTensorView& read, std::int64_t rows,
                 const TensorView& out, std::int64_t tokens) {
  if (rows == 0 || tokens == 0 || !inside_heap(facts, read.data())) return;
  const auto read_begin = reinterpret_cast<std::uintptr_t>(read.data());
  const auto out_begin = reinterpret_cast<std::uintptr_t>(out.data());
  require(read_begin < out_begin ? bytes_of(read, rows) <= out_begin - read_begin
                                 : bytes_of(out, tokens) <= read_begin - out_begin,
          "out overlaps {}, which the peers read in the heap while out is written; they must lie apart", what);
}

}  // namespace

transports::CombineRequest check_combine(const GroupFacts& facts, const ConstTensorView& y, const Route& route,
                                         const TensorView& out, const CombineOptions& options) {
  check_own_route(facts, route);
  routing::RouteState& state = *route.state();
  const RouteRows rows = rows_of(facts, state, y);
  check_outputs(facts, y, state, rows);
  check_weights(facts, options, state);
  require(is_row_type(out.dtype()), "out is {}; bf16, fp16 or fp32 is expected", name(out.dtype()));
  check_matrix(facts, "out", out, facts.options.hidden);
  require(out.size(0) >= rows.tokens, "out has {} rows; the route has {} tokens", out.size(0), rows.tokens);
  require(out.data() || rows.tokens == 0, "out is null with {} tokens", rows.tokens);
  check_leased(facts, "y", y, rows_read(y, state, rows));
  check_apart(facts, "y", y, rows_read(y, state, rows), out, rows.tokens);
  if (const ConstTensorView& weights = options.row_weights; weights.defined()) {
    const ConstTensorView flat(weights.data(), DType::fp32, {weights.count()});
    check_leased(facts, "row_weights", flat, flat.count());
    check_apart(facts, "row_weights", flat, flat.count(), out, rows.tokens);
  }
  for (const ConstTensorView& bias : options.bias) {
    if (!bias.defined()) continue;
    require(is_row_type(bias.dtype()), "a bias is {}; bf16, fp16 or fp32 is expected", name(bias.dtype()));
    check_matrix(facts, "a bias", bias, facts.options.hidden);
    require(bias.size(0) >= rows.tokens, "a bias has {} rows; the route has {} tokens", bias.size(0), rows.tokens);
    require(bias.data() || rows.tokens == 0, "a bias is null with {} tokens", rows.tokens);
  }
  return {.y = y, .route = route, .out = out, .options = options};
}

}  // namespace railyard::api
