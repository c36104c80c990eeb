// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_operations.hpp"

#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"
#include "throughput/cuda_descriptor.hpp"
#include "throughput/cuda_expert_load.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace railyard::throughput {

using device::require_cuda;
using transports::CombineRequest;
using transports::DispatchRequest;
using transports::Operation;

namespace {

constexpr std::size_t kRouteStep = std::size_t{2} << 20;

routing::RowShape shape_of(const DispatchRequest& request, int hidden) {
  if (!request.sends_rows()) return {};
  if (request.codec) return routing::RowShape::of(*request.codec, hidden);
  return routing::RowShape::exact(request.x.dtype(), hidden,
                                  request.scales.defined() ? std::optional(request.scales.dtype()) : std::nullopt);
}

CudaOperation operation_of(Operation operation) {
  switch (operation) {
    case Operation::route:
      return CudaOperation::route;
    case Operation::routed_dispatch:
      return CudaOperation::routed_dispatch;
    default:
      return CudaOperation::dispatch;
  }
}

std::size_t bytes_per_row(const ConstTensorView& view, std::size_t row_bytes) {
  return view.size(0) > 1 ? static_cast<std::size_t>(view.stride(0)) * size_of(view.dtype())
                          : round_up_bytes(row_bytes, 16);
}

// `somewhere`: any device address; a null one would say that no rank has scales.
CudaRows rows_of(const DispatchRequest& request, int hidden, const std::byte* somewhere) {
  CudaRows rows;
  if (!request.sends_rows()) return rows;
  rows.data = static_cast<const std::byte*>(request.x.data());
  rows.bytes = static_cast<std::size_t>(hidden) * size_of(request.x.dtype());
  rows.pitch = bytes_per_row(request.x, rows.bytes);
  if (request.codec && element_type(*request.codec) != request.x.dtype()) rows.encode = CudaEncode::bf16_to_fp8_e4m3;
  const ConstTensorView& scales = request.scales;
  if (!scales.defined()) return rows;
  rows.scales = scales.data() ? static_cast<const std::byte*>(scales.data()) : somewhere;
  rows.scale_element = size_of(scales.dtype());
  rows.num_scales = static_cast<std::size_t>(scales.size(1));
  rows.scale_pitch = static_cast<std::size_t>(std::max<std::int64_t>(scales.stride(0), 0)) * rows.scale_element;
  rows.scale_step = static_cast<std::size_t>(scales.stride(1)) * rows.scale_element;
  return rows;
}

// Submits, and waits for what it submitted. The default stream would wait for every other one, whose kernels may wait
// for this rank.
template <typename Submit>
void on_own_stream(const char* purpose, Submit submit) {
  cudaStream_t stream = nullptr;
  require_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), purpose);
  try {
    submit(stream);
    require_cuda(cudaStreamSynchronize(stream), purpose);
  } catch (...) {
    static_cast<void>(cudaStreamDestroy(stream));
    throw;
  }
  require_cuda(cudaStreamDestroy(stream), purpose);
}

Lease take(symmetric_memory::Heap& heap, std::size_t bytes, Stream stream) {
  return bytes > 0 ? heap.allocate(bytes, stream) : Lease{};
}

std::byte* address(const Lease& lease, std::size_t offset) { return lease ? lease.state()->data() + offset : nullptr; }

}  // namespace

CudaOperations::CudaOperations(const CudaOperationsOptions& options,
                               std::shared_ptr<symmetric_memory::SymmetricHeap> heap,
                               std::shared_ptr<symmetric_memory::Heap> route_heap,
                               std::shared_ptr<CudaRoutePool> routes, std::shared_ptr<CudaResources> resources)
    : options_(options),
      placement_(options.group->placement),
      heap_(std::move(heap)),
      route_heap_(std::move(route_heap)),
      resources_(std::move(resources)),
      routes_(std::move(routes)),
      layout_(CudaGroupMemory::of({.num_ranks = options.num_ranks,
                                   .num_experts = options.group->num_experts,
                                   .max_tokens = options.group->max_tokens,
                                   .max_top_k = options.group->max_top_k,
                                   .num_slots = options.group->max_in_flight})),
      latest_route_id_(options.first_route) {
  memory_ = heap_->own().allocate(layout_.bytes);
  if (!memory_ || memory_.state()->offset() != 0) {
    throw Error(ErrorCode::heap_exhausted, diagnostics::format("a heap of {} bytes has no room for the group's own {}",
                                                               heap_->own().usage().bytes, layout_.bytes));
  }
  std::byte* const base = memory_.state()->data();
  group_ = {.rank = options.rank,
            .num_ranks = options.num_ranks,
            .members = 0,
            .control_offset = 0,
            .control = CudaControlLayout::of(options.num_ranks, options.group->max_in_flight),
            .state = reinterpret_cast<CudaGroupState*>(base + layout_.state),
            .host_control = resources_->control(),
            .report = resources_->report(),
            .trace = options.trace.get()};
  for (const int rank : options.members) {
    group_.members |= std::uint64_t{1} << rank;
    group_.heaps[rank] = heap_->base(rank);
  }
  device_placement_ = {.num_experts = options.group->num_experts,
                       .max_local_experts = placement_.max_local_experts(),
                       .rank_of_expert = reinterpret_cast<const std::uint8_t*>(base + layout_.rank_of_expert),
                       .first_expert = reinterpret_cast<const std::int32_t*>(base + layout_.first_expert)};

  std::vector<std::uint8_t> owners;
  std::vector<std::int32_t> first;
  for (int rank = 0; rank < options.num_ranks; ++rank) {
    first.push_back(placement_.first_expert(rank));
    owners.insert(owners.end(), static_cast<std::size_t>(placement_.local_experts(rank)),
                  group_.has(rank) ? static_cast<std::uint8_t>(rank) : CudaPlacement::kNoRank);
  }
  first.push_back(options.group->num_experts);
  const std::vector<std::uint64_t> control = group_.control.initial_words(options.first_epoch);
  const auto state = CudaGroupState::initial(options.first_epoch);
  on_own_stream("setting up a group", [&](cudaStream_t stream) {
    const auto copy = [&](std::size_t offset, const auto* data, std::size_t count) {
      require_cuda(cudaMemcpyAsync(base + offset, data, count * sizeof(*data), cudaMemcpyHostToDevice, stream),
                   "setting up a group");
    };
    require_cuda(cudaMemsetAsync(base, 0, layout_.bytes, stream), "setting up a group");
    copy(0, control.data(), control.size());
    copy(layout_.state, &state, 1);
    copy(layout_.rank_of_expert, owners.data(), owners.size());
    copy(layout_.first_expert, first.data(), first.size());
  });
}

CudaOperations::Finished CudaOperations::close() {
  CudaGroupState state;
  on_own_stream("closing a group's memory", [&](cudaStream_t stream) {
    require_cuda(cudaMemsetAsync(&group_.state->wait_state.failed, 0xFF, sizeof(state.wait_state.failed), stream),
                 "closing a group's memory");
    require_cuda(cudaMemcpyAsync(&state, group_.state, sizeof(state), cudaMemcpyDeviceToHost, stream),
                 "closing a group's memory");
  });
  return {.dispatches = state.kinds[static_cast<int>(CudaKind::dispatch)].epoch - options_.first_epoch,
          .combines = state.kinds[static_cast<int>(CudaKind::combine)].epoch - options_.first_epoch};
}

// A route's memory is no lease of the heap: a rank whose heap is full makes the route all the same, since the rows that
// its tokens have on other ranks are there. It grows when routes are kept.
Lease CudaOperations::route_memory(std::size_t bytes, Stream stream) {
  Lease memory = route_heap_->allocate(bytes, stream);
  if (memory) return memory;
  route_heap_->grow(std::max(bytes, kRouteStep));
  memory = route_heap_->allocate(bytes, stream);
  if (memory) return memory;
  throw Error(ErrorCode::out_of_memory, diagnostics::format("rank {}: {} bytes for a route; its routes have {} already",
                                                            options_.rank, bytes, route_heap_->usage().in_use));
}

CudaRouteState* CudaOperations::make_route(const DispatchRequest& request, Stream stream) {
  const int top_k = static_cast<int>(request.targets.size(1));
  const int max_tokens = static_cast<int>(request.targets.size(0));
  const auto layout = CudaRouteMemory::of(max_tokens, top_k, options_.num_ranks);
  Lease memory = route_memory(layout.bytes, stream);
  std::byte* const base = memory.state()->data();
  CudaRouteState* const state = routes_->take();
  state->id = latest_route_id_ + 1;
  state->layout = Layout::rank_major;
  state->alignment = 1;
  state->entries.width = top_k;
  state->entries.from_mask = false;
  state->max_tokens = max_tokens;
  state->memory = std::move(memory);
  state->device = {.transfers = reinterpret_cast<CudaTransfer*>(base + layout.transfers),
                   .experts = reinterpret_cast<std::int32_t*>(base + layout.experts),
                   .sizes = reinterpret_cast<std::int32_t*>(base + layout.sizes),
                   .top_k = top_k,
                   .max_tokens = max_tokens};
  state->num_ranks = options_.num_ranks;
  state->local_experts = placement_.local_experts(options_.rank);
  state->exhausted = false;
  return state;
}

void CudaOperations::prepare(DispatchRequest&& request, Stream stream, CudaDispatchOperation& operation) {
  operation = {};
  operation.route = request.makes_route() ? Route(make_route(request, stream)) : request.route;
  auto& state = static_cast<CudaRouteState&>(*operation.route.state());
  operation.completion =
      std::make_shared<CudaCompletion>(resources_, false, request.makes_route() ? nullptr : state.completion);
  if (request.makes_route()) state.completion = operation.completion;
  operation.expert_load = request.expert_load;

  const routing::RowShape shape = shape_of(request, options_.group->hidden);
  operation.descriptor = {.operation = request.operation,
                          .row_dtype = shape.dtype,
                          .scale_dtype = shape.scale_dtype,
                          .has_scales = shape.num_scales > 0,
                          .has_weights = request.weights.defined(),
                          .top_k = static_cast<std::uint16_t>(state.width()),
                          .route_id = state.id};
  if (options_.compare_all) {
    operation.descriptor.compares_all = true;
    operation.descriptor.tail = request.tail;
    operation.descriptor.capacity = request.capacity;
  }
  std::byte* const base = memory_.state()->data();
  CudaResultSlot& slot = operation.completion->slot();
  const bool quantises = request.codec && element_type(*request.codec) != request.x.dtype();
  operation.launch = {.group = group_,
                      .placement = device_placement_,
                      .operation = operation_of(request.operation),
                      .descriptor = pack(operation.descriptor),
                      .route = state.device,
                      .ids = request.targets.data(),
                      .ids_are_int64 = request.targets.dtype() == DType::int64,
                      .num_tokens = static_cast<int>(state.max_tokens),
                      .device_num_tokens = request.num_tokens_word,
                      .overflow = options_.group->overflow,
                      .order = options_.group->order,
                      .rows = rows_of(request, options_.group->hidden, base),
                      .has_weights = request.weights.defined(),
                      .weights = static_cast<const float*>(request.weights.data()),
                      .tail = request.tail,
                      .grant = {},
                      .workspace = base + layout_.workspace,
                      .result = reinterpret_cast<CudaDispatchResult*>(base + layout_.dispatch_result),
                      .host_result = &slot.dispatch,
                      .timed = timed_,
                      .num_blocks = quantises ? options_.num_sms_quantise : options_.num_sms,
                      .stream = stream.native()};
  grant(request, stream, operation, state);
  place_results(request, shape, operation, state);
}

void CudaOperations::grant(const DispatchRequest& request, Stream stream, CudaDispatchOperation& operation,
                           CudaRouteState& state) {
  const int local_experts = placement_.max_local_experts();
  std::int64_t capacity = state.own_capacity;
  if (request.makes_route()) {
    capacity = request.capacity > 0
                   ? request.capacity
                   : routing::default_capacity(Layout::rank_major, options_.num_ranks, options_.group->max_tokens,
                                               state.width(), local_experts, 1);
  }
  const routing::RowShape shape = shape_of(request, options_.group->hidden);
  const std::size_t payload_bytes =
      request.sends_rows() ? CudaPayloadLayout::of(capacity, CudaRowShape::of(shape.row_bytes, shape.scale_bytes),
                                                   request.weights.defined() ? state.width() : 0)
                                 .bytes
                           : 0;
  const auto metadata_layout = CudaMetadataLayout::of(capacity, state.width(), local_experts);
  const std::size_t metadata_bytes = request.makes_route() ? metadata_layout.bytes : 0;
  symmetric_memory::Heap& heap = heap_->own();
  operation.payload = take(heap, payload_bytes, stream);
  Lease metadata = take(heap, metadata_bytes, stream);
  CudaGrant& grant = operation.launch.grant;
  grant.capacity = capacity;
  if ((payload_bytes > 0 && !operation.payload) || (metadata_bytes > 0 && !metadata)) {
    operation.payload = {};
    metadata = {};
    const symmetric_memory::HeapUsage usage = heap.usage();
    grant.code = ErrorCode::heap_exhausted;
    grant.capacity = 0;
    grant.wanted_bytes = payload_bytes + metadata_bytes;
    grant.free_bytes = usage.bytes - usage.in_use;
    if (!request.makes_route() && !state.completion->captured()) {
      state.wait();  // the peers' statuses say how many rows were lost
      grant.rows_needed = state.num_rows;
    }
  }
  if (operation.payload) grant.payload_offset = operation.payload.state()->offset();
  if (metadata) grant.metadata_offset = metadata.state()->offset();
  if (!request.makes_route()) return;
  state.own_capacity = grant.capacity;
  state.exhausted = grant.code != ErrorCode::ok;
  const std::int64_t rows = grant.capacity;
  const Device device = options_.device;
  state.expert_ids = {TensorView(address(metadata, metadata_layout.ids), DType::int32, {rows, state.width()}, device),
                      metadata};
  state.origins = {TensorView(address(metadata, metadata_layout.origins), DType::int64, {rows}, device), metadata};
  state.device_counts = {TensorView(address(metadata, metadata_layout.expert_counts), DType::int32,
                                    {metadata ? state.local_experts : 0}, device),
                         metadata};
}

void CudaOperations::place_results(const DispatchRequest& request, const routing::RowShape& shape,
                                   CudaDispatchOperation& operation, const CudaRouteState& state) {
  Dispatched& result = operation.result;
  result.route = operation.route;
  result.event = Event(operation.completion);
  if (!request.sends_rows()) return;
  const std::int64_t rows = operation.launch.grant.capacity;
  const int weights_per_row = request.weights.defined() ? state.width() : 0;
  const auto layout =
      CudaPayloadLayout::of(rows, CudaRowShape::of(shape.row_bytes, shape.scale_bytes), weights_per_row);
  const auto matrix = [&](std::size_t offset, DType dtype, std::int64_t columns, std::size_t pitch) -> Tensor {
    return {TensorView::rows(address(operation.payload, offset), dtype, rows, columns,
                             static_cast<std::int64_t>(pitch / size_of(dtype)), options_.device),
            operation.payload};
  };
  result.rows = matrix(layout.rows, shape.dtype, options_.group->hidden, shape.row_pitch);
  if (shape.num_scales > 0) {
    result.scales = matrix(layout.scales, shape.scale_dtype, shape.num_scales, shape.scale_pitch);
  }
  if (weights_per_row > 0) {
    result.weights =
        matrix(layout.weights, DType::fp32, weights_per_row, static_cast<std::size_t>(weights_per_row) * sizeof(float));
  }
}

void CudaOperations::launch(CudaDispatchOperation& operation) {
  launch_dispatch(operation.launch);
  if (operation.launch.operation != CudaOperation::routed_dispatch) ++latest_route_id_;
}

void CudaOperations::add_load(const CudaDispatchOperation& operation) {
  if (!operation.expert_load.defined() || operation.expert_load.count() == 0) return;
  const auto& state = static_cast<const CudaRouteState&>(*operation.route.state());
  if (state.exhausted) return;  // nothing arrived
  add_expert_load(static_cast<std::int32_t*>(operation.expert_load.data()),
                  static_cast<const std::int32_t*>(state.device_counts.data()), state.local_experts,
                  operation.launch.result, operation.launch.stream);
}

void CudaOperations::prepare(CombineRequest&& request, Stream stream, CudaCombineOperation& operation) {
  operation = {};
  operation.route = request.route;
  auto& state = static_cast<CudaRouteState&>(*operation.route.state());
  operation.completion = std::make_shared<CudaCompletion>(resources_, true, state.completion);
  operation.descriptor = {.operation = Operation::combine,
                          .row_dtype = request.y.dtype(),
                          .top_k = static_cast<std::uint16_t>(state.width()),
                          .route_id = state.id};
  CombineLaunch& launch = operation.launch;
  launch = {.group = group_,
            .descriptor = pack(operation.descriptor),
            .route = state.device,
            .hidden = options_.group->hidden,
            .y_dtype = request.y.dtype(),
            .out = static_cast<std::byte*>(request.out.data()),
            .out_dtype = request.out.dtype(),
            .biases = {},
            .result = reinterpret_cast<CudaCombineResult*>(memory_.state()->data() + layout_.combine_result),
            .host_result = &operation.completion->slot().combine,
            .timed = timed_,
            .num_blocks = options_.num_sms,
            .stream = stream.native()};
  const auto hidden = static_cast<std::size_t>(options_.group->hidden);
  launch.out_pitch = bytes_per_row(request.out, hidden * size_of(request.out.dtype()));
  std::size_t num_biases = 0;
  for (const ConstTensorView& bias : request.options.bias) {
    if (!bias.defined() || !bias.data()) continue;
    launch.biases[num_biases++] = {.data = static_cast<const std::byte*>(bias.data()),
                                   .pitch = bytes_per_row(bias, hidden * size_of(bias.dtype())),
                                   .dtype = bias.dtype()};
  }
  offer(request, stream, operation, state);
}

void CudaOperations::offer(const CombineRequest& request, Stream stream, CudaCombineOperation& operation,
                           CudaRouteState& state) {
  constexpr std::size_t kRowAlignment = 16;
  const ConstTensorView& y = request.y;
  CombineLaunch& launch = operation.launch;
  const std::size_t row_bytes = static_cast<std::size_t>(options_.group->hidden) * size_of(y.dtype());
  launch.y_pitch = round_up_bytes(row_bytes, kRowAlignment);
  if (!y.data() || y.size(0) == 0) return;
  symmetric_memory::Heap& heap = heap_->own();
  const std::size_t pitch = bytes_per_row(y, row_bytes);
  operation.y = heap.lease_of(y.data());
  if (operation.y && pitch % kRowAlignment == 0 && reinterpret_cast<std::uintptr_t>(y.data()) % kRowAlignment == 0) {
    operation.y.use_on(stream);
    launch.y_offset = static_cast<std::uint64_t>(static_cast<const std::byte*>(y.data()) - heap.base());
    launch.y_pitch = pitch;
    return;
  }
  std::int64_t rows = std::min(y.size(0), state.own_capacity);
  if (!state.completion->captured() && state.completion->done()) {
    state.wait();
    rows = std::min(rows, state.num_rows);
  }
  if (rows == 0) return;
  const std::size_t wanted = static_cast<std::size_t>(rows) * launch.y_pitch;
  operation.y = heap.allocate(wanted, stream);
  if (!operation.y) {
    const symmetric_memory::HeapUsage usage = heap.usage();
    launch.code = ErrorCode::heap_exhausted;
    launch.wanted_bytes = wanted;
    launch.free_bytes = usage.bytes - usage.in_use;
    launch.rows_needed = rows;
    if (!state.completion->captured()) {
      state.wait();
      launch.rows_needed = state.num_rows;
    }
    return;
  }
  launch.y_offset = operation.y.state()->offset();
  operation.copy = {
      .from = y.data(), .from_pitch = pitch, .row_bytes = row_bytes, .rows = static_cast<std::size_t>(rows)};
}

std::uint64_t CudaOperations::launch(CudaCombineOperation& operation) {
  const auto& copy = operation.copy;
  if (copy.rows > 0) {
    require_cuda(cudaMemcpy2DAsync(heap_->own().base() + operation.launch.y_offset, operation.launch.y_pitch, copy.from,
                                   copy.from_pitch, copy.row_bytes, copy.rows, cudaMemcpyDeviceToDevice,
                                   static_cast<cudaStream_t>(operation.launch.stream)),
                 "copying y into the heap");
  }
  launch_combine(operation.launch);
  return copy.rows * copy.row_bytes;
}

}  // namespace railyard::throughput
