// SPDX-License-Identifier: Apache-2.0
#include "throughput/host_combine.hpp"

#include "codecs/codec.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

namespace railyard::throughput {

using routing::RouteState;
using routing::Transfer;
using transports::Notice;
using transports::Operation;
using transports::Stage;

namespace {

constexpr int kMaxTopK = 32;

// Calls `copy(first row, rows)` for the runs of flat rows that hold tokens or padding.
template <typename Copy>
void for_each_run(const RouteState& state, std::int64_t capacity, Copy copy) {
  if (state.layout == Layout::rank_major) return copy(std::int64_t{0}, state.num_rows);
  if (state.layout == Layout::expert_major) return copy(std::int64_t{0}, std::int64_t{state.expert_offsets.back()});
  for (std::size_t local = 0; local < state.expert_counts.size(); ++local) {
    copy(static_cast<std::int64_t>(local) * capacity, std::int64_t{state.expert_counts[local]});
  }
}

Codec element_codec(DType dtype) {
  return dtype == DType::bf16 ? Codec::bf16 : dtype == DType::fp16 ? Codec::fp16 : Codec::fp32;
}

std::size_t row_stride_bytes(const ConstTensorView& view) {
  return static_cast<std::size_t>(view.stride(view.dimensions() - 2)) * size_of(view.dtype());
}

}  // namespace

HostCombine::HostCombine(const GroupOptions& options, transports::PeerExchange& exchange)
    : options_(options), exchange_(exchange), hidden_(options.hidden) {
  sources_.resize(static_cast<std::size_t>(exchange.num_ranks()));
  start_.resize(static_cast<std::size_t>(hidden_));
  const auto most_rows = static_cast<std::size_t>(std::max(kMaxTopK, exchange.num_ranks()));
  rows_.resize(most_rows);
  weights_.resize(most_rows);
  partials_.resize(kMaxTopK * static_cast<std::size_t>(hidden_) * sizeof(float));
}

bool HostCombine::in_heap(const ConstTensorView& view) const noexcept {
  const auto* const data = static_cast<const std::byte*>(view.data());
  const std::byte* const base = exchange_.base(exchange_.rank());
  return std::greater_equal<>{}(data, base) && std::less<>{}(data, base + exchange_.heap().limit());
}

CombineBytes HostCombine::send(CombineOperation& operation) {
  const transports::CombineRequest& call = operation.request;
  const RouteState& state = *call.route.state();
  operation.descriptor = {.operation = Operation::combine,
                          .layout = state.layout,
                          .row_dtype = call.y.dtype(),
                          .has_weights = call.options.row_weights.defined(),
                          .top_k = static_cast<std::uint16_t>(state.width()),
                          .alignment = static_cast<std::uint32_t>(state.alignment),
                          .route_id = state.id};
  CombineBytes bytes;
  Notice notice{.descriptor = operation.descriptor};
  notice.rows_needed = state.num_rows;
  offer_y(operation, notice, bytes);
  offer_weights(operation, notice, bytes);
  operation.turn = exchange_.begin(Operation::combine);
  exchange_.wait_slot(operation.turn);
  exchange_.publish(operation.turn, notice, {});
  return bytes;
}

void HostCombine::offer_y(CombineOperation& operation, Notice& notice, CombineBytes& bytes) {
  const ConstTensorView& y = operation.request.y;
  const RouteState& state = *operation.request.route.state();
  if (state.num_rows == 0) return;
  if (in_heap(y)) {
    notice.payload_offset =
        static_cast<std::uint64_t>(static_cast<const std::byte*>(y.data()) - exchange_.base(exchange_.rank()));
    notice.row_pitch = row_stride_bytes(y);
    return;
  }
  const bool slots = state.layout == Layout::expert_slots;
  const std::int64_t capacity = state.own_capacity;
  const std::size_t row_bytes = static_cast<std::size_t>(hidden_) * size_of(y.dtype());
  const std::int64_t rows = slots ? capacity * static_cast<std::int64_t>(state.expert_counts.size())
                                  : std::max<std::int64_t>(state.num_rows, state.expert_offsets.back());
  const std::size_t wanted = static_cast<std::size_t>(rows) * row_bytes;
  operation.y_copy = exchange_.heap().allocate(wanted);
  if (!operation.y_copy) {
    const symmetric_memory::HeapUsage usage = exchange_.heap().usage();
    notice.code = ErrorCode::heap_exhausted;
    notice.wanted_bytes = wanted;
    notice.free_bytes = usage.bytes - usage.in_use;
    return;
  }
  notice.payload_offset = operation.y_copy.state()->offset();
  notice.row_pitch = row_bytes;
  const auto* const source = static_cast<const std::byte*>(y.data());
  const std::size_t stride = row_stride_bytes(y);
  const std::size_t slot_stride = slots ? static_cast<std::size_t>(y.stride(0)) * size_of(y.dtype()) : 0;
  std::byte* const copy = operation.y_copy.state()->data();
  for_each_run(state, capacity, [&](std::int64_t first, std::int64_t count) {
    const std::byte* from =
        source + (slots ? static_cast<std::size_t>(first / std::max<std::int64_t>(capacity, 1)) * slot_stride
                        : static_cast<std::size_t>(first) * stride);
    count = slots ? count : std::min(count, y.size(0) - first);
    for (std::int64_t row = 0; row < count; ++row, from += stride) {
      std::memcpy(copy + static_cast<std::size_t>(first + row) * row_bytes, from, row_bytes);
    }
    bytes.copied += static_cast<std::uint64_t>(count) * row_bytes;
  });
}

void HostCombine::offer_weights(CombineOperation& operation, Notice& notice, CombineBytes& bytes) {
  const ConstTensorView& weights = operation.request.options.row_weights;
  const RouteState& state = *operation.request.route.state();
  if (!weights.defined() || state.num_rows == 0 || notice.code != ErrorCode::ok) return;
  if (in_heap(weights)) {
    notice.metadata_offset =
        static_cast<std::uint64_t>(static_cast<const std::byte*>(weights.data()) - exchange_.base(exchange_.rank()));
    return;
  }
  const std::size_t wanted = static_cast<std::size_t>(weights.count()) * sizeof(float);
  operation.weights_copy = exchange_.heap().allocate(wanted);
  if (!operation.weights_copy) {
    const symmetric_memory::HeapUsage usage = exchange_.heap().usage();
    notice.code = ErrorCode::heap_exhausted;
    notice.wanted_bytes = wanted;
    notice.free_bytes = usage.bytes - usage.in_use;
    return;
  }
  std::memcpy(operation.weights_copy.state()->data(), weights.data(), wanted);
  notice.metadata_offset = operation.weights_copy.state()->offset();
  bytes.copied += wanted;
}

CombineBytes HostCombine::receive(CombineOperation& operation, Combined& result) {
  exchange_.resume(Stage::exchange, operation.turn);
  exchange_.wait_notices(operation.turn, operation.descriptor);
  exchange_.enter(Stage::pull, operation.turn);
  const RouteState& state = *operation.request.route.state();
  const TensorView& out = operation.request.out;
  result.event = Event(find_sources(operation));
  y_dtype_ = operation.descriptor.row_dtype;
  sum_partial_ = codecs::sum_rows(y_dtype_, y_dtype_, codecs::Stores::ordinary);
  sum_out_ = codecs::sum_rows(y_dtype_, out.dtype(), codecs::Stores::streaming);
  std::uint64_t remote_rows = 0;
  for (std::int64_t token = 0; token < state.num_tokens(); ++token) remote_rows += reduce_token(operation, token);
  codecs::store_fence();  // the output was stored past the caches
  exchange_.signal_received(operation.turn);
  exchange_.wait_received(operation.turn);
  operation.y_copy = {};
  operation.weights_copy = {};
  operation.request = {};
  return {.wire = remote_rows * static_cast<std::uint64_t>(hidden_) * size_of(y_dtype_), .copied = 0};
}

Status HostCombine::find_sources(const CombineOperation& operation) {
  Status exhausted{.code = ErrorCode::heap_exhausted};
  for (int rank = 0; rank < exchange_.num_ranks(); ++rank) {
    const Notice& notice = exchange_.notice(operation.turn, rank);
    Source& source = sources_[static_cast<std::size_t>(rank)];
    source = {};
    if (notice.code == ErrorCode::heap_exhausted) {
      source.exhausted = true;
      if (exhausted.rank < 0) {
        exhausted.rank = rank;
        exhausted.needed = static_cast<std::int64_t>(notice.wanted_bytes);
        exhausted.capacity = static_cast<std::int64_t>(notice.free_bytes);
      }
      exhausted.count += notice.rows_needed;
      continue;
    }
    source.rows = exchange_.base(rank) + notice.payload_offset;
    source.row_pitch = notice.row_pitch;
    if (operation.descriptor.has_weights) {
      source.weights = reinterpret_cast<const float*>(exchange_.base(rank) + notice.metadata_offset);
    }
  }
  return exhausted.rank >= 0 ? exhausted : operation.request.route.state()->status;
}

const float* HostCombine::start_value(const CombineOperation& operation, std::int64_t token) {
  const float* start = nullptr;
  for (const ConstTensorView& bias : operation.request.options.bias) {
    if (!bias.defined()) continue;
    const auto* const row = static_cast<const std::byte*>(bias.data()) +
                            static_cast<std::size_t>(token * bias.stride(0)) * size_of(bias.dtype());
    if (!start) {
      // The first bias is taken as it is: adding it to +0 would lose the sign of -0.
      codecs::decoder(element_codec(bias.dtype()), DType::fp32)(row, nullptr, start_.data(), hidden_);
      start = start_.data();
    } else {
      codecs::accumulate(bias.dtype())(start_.data(), row, hidden_);
    }
  }
  return start;
}

std::uint64_t HostCombine::reduce_token(const CombineOperation& operation, std::int64_t token) {
  const RouteState& state = *operation.request.route.state();
  const TensorView& out = operation.request.out;
  const std::span<const Transfer> transfers = state.of_token(token);
  const auto* origin_weights = static_cast<const float*>(operation.request.options.weights.data());
  const bool weighted = operation.request.options.weights.defined() || operation.descriptor.has_weights;
  std::uint64_t remote_rows = 0;
  std::size_t count = 0;
  for (const Transfer& transfer : transfers) {
    const Source& source = sources_[static_cast<std::size_t>(transfer.rank)];
    if (transfer.row == routing::kLostRow || source.exhausted) {
      write_nan(out, token);
      return remote_rows;
    }
    rows_[count] = source.rows + static_cast<std::size_t>(transfer.row) * source.row_pitch;
    if (weighted) {
      weights_[count] =
          source.weights ? source.weights[transfer.row] : origin_weights[token * state.width() + transfer.k];
    }
    remote_rows += transfer.rank != exchange_.rank();
    ++count;
  }
  if (state.layout != Layout::rank_major && options_.levels == ReductionLevels::rank) {
    count = sum_partials(transfers, weighted);
  }
  const bool weights_at_origin = weighted && options_.levels == ReductionLevels::none;
  std::byte* const out_row =
      static_cast<std::byte*>(out.data()) + static_cast<std::size_t>(token * out.stride(0)) * size_of(out.dtype());
  sum_out_(rows_.data(), weights_at_origin ? weights_.data() : nullptr, static_cast<int>(count),
           start_value(operation, token), out_row, hidden_);
  return remote_rows;
}

std::size_t HostCombine::sum_partials(std::span<const Transfer> transfers, bool weighted) {
  const std::size_t row_bytes = static_cast<std::size_t>(hidden_) * size_of(y_dtype_);
  std::size_t num_partials = 0;
  for (std::size_t begin = 0; begin < transfers.size();) {
    std::size_t end = begin + 1;
    while (end < transfers.size() && transfers[end].rank == transfers[begin].rank) ++end;
    std::byte* const partial = partials_.data() + num_partials * row_bytes;
    sum_partial_(rows_.data() + begin, weighted ? weights_.data() + begin : nullptr, static_cast<int>(end - begin),
                 nullptr, partial, hidden_);
    rows_[num_partials++] = partial;  // num_partials <= begin: that row has been read
    begin = end;
  }
  return num_partials;
}

void HostCombine::write_nan(const TensorView& out, std::int64_t token) const {
  std::byte* const row =
      static_cast<std::byte*>(out.data()) + static_cast<std::size_t>(token * out.stride(0)) * size_of(out.dtype());
  if (out.dtype() == DType::fp32) {
    constexpr std::uint32_t kNan = 0x7FFFFFFF;
    for (int i = 0; i < hidden_; ++i) std::memcpy(row + 4 * i, &kNan, 4);
  } else {
    constexpr std::uint16_t kNan = 0x7FFF;
    for (int i = 0; i < hidden_; ++i) std::memcpy(row + 2 * i, &kNan, 2);
  }
}

}  // namespace railyard::throughput
