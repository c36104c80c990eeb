// SPDX-License-Identifier: Apache-2.0
// Dispatch in throughput mode: one kernel for route, exchange, rows and metadata.
//
//   roles     sender warps move rows; metadata warps route, then write ids, weights, origins, counts, transfers, the
//             tail; each block's clerk does what delays whoever does it: the grant, the result, times
//   reads     ids, rows, scales and weights of the caller, or an existing route
//   writes    granted blocks of all ranks, the route, the result
//   order     grant; ids -> route of the slice -> all slices -> counts -> everyone's counts and grants -> rows and
//             metadata -> bulk wait -> barrier -> fence -> arrival signals; block 0 waits for everyone's
//   ends      when all sources' rows are here; block 0 then advances epoch and slot
#include "throughput/cuda_begin_end.cuh"
#include "throughput/cuda_exchange.cuh"
#include "throughput/cuda_kernels.hpp"
#include "throughput/cuda_metadata.cuh"
#include "throughput/cuda_quantise.cuh"
#include "throughput/cuda_route.cuh"
#include "throughput/cuda_send.cuh"
#include "throughput/cuda_verdict.cuh"

namespace railyard::throughput {
namespace {

enum class WarpRole : std::uint8_t { sender, metadata, clerk };

__device__ __forceinline__ WarpRole role_of(const DispatchPlan& plan, int warp) {
  if (warp == kClerkWarp) return WarpRole::clerk;
  return warp < plan.num_senders ? WarpRole::sender : WarpRole::metadata;
}

__device__ __forceinline__ int tokens_of(const DispatchLaunch& call) {
  return max(0, min(tokens_said(call), call.num_tokens));
}

/// Metadata warps, before the group's state is known: what they will read is on its way meanwhile. Where there is more
/// to do than to wait for, the instructions would cost more than they save.
__device__ void prefetch_inputs(const DispatchLaunch& call, const DispatchPlan& plan) {
  const int first = (static_cast<int>(threadIdx.x) - plan.num_senders * 32) * kPrefetchLine;
  const int step = (kClerkWarp - plan.num_senders) * 32 * kPrefetchLine;
  const auto fetch = [&](const void* array, int count, int size) {
    for (int byte = first; byte < count * size; byte += step) {
      device::prefetch(static_cast<const std::byte*>(array) + byte);
    }
  };
  const int num_ids = call.num_tokens * call.route.top_k;
  if (call.operation != CudaOperation::routed_dispatch) {
    fetch(call.ids, num_ids, call.ids_are_int64 ? 8 : 4);
    fetch(call.placement.first_expert, call.group.num_ranks + 1, 4);
  } else {
    fetch(call.route.experts, num_ids, 4);
    fetch(call.route.transfers, call.num_tokens * call.route.slots(call.group.num_ranks),
          static_cast<int>(sizeof(CudaTransfer)));
  }
  fetch(call.placement.rank_of_expert, min(call.placement.num_experts, kHistogramLimit), 1);
  if (call.has_weights) fetch(call.weights, num_ids, 4);
}

/// Metadata warps: from the ids to this block's slice of the route.
__device__ void begin_route(const DispatchBlock& block) {
  const RouteTeam team{block.plan().num_senders};
  if (counts_in_block(block)) {
    for (int i = team.thread(); i < block.call().placement.num_experts; i += team.warps() * 32) {
      block.histogram()[i] = 0;
    }
  }
  if (block.plan().routes_alone || static_cast<int>(blockIdx.x) < block.plan().num_slices) route_slice(block, team);
}

/// Block 0, all threads: the operation ended without its peers, before its rows were under way.
template <bool kTimed>
__device__ void fail(const DispatchBlock& block) {
  if (threadIdx.x == 0) write_failure(block);
  if constexpr (kTimed) {
    const CudaGroup& group = block.call().group;
    if (keeps_time() && lane_index() == 0) add_clock_rate(group, device::global_time_ns());
    end_times_early(group, CudaKind::dispatch, block.call().operation, block.epoch);
  }
}

/// Block 0, all threads: everyone's rows are here, or the group has failed.
template <bool kTimed>
__device__ void wait_for_arrivals(const DispatchBlock& block) {
  const int source = static_cast<int>(threadIdx.x);
  const CudaGroup& group = block.call().group;
  bool arrived = true;
  if constexpr (kTimed) {
    if (threadIdx.x == 0) operation_times().moved = device::cycles();
  }
  if (source < group.num_ranks && group.has(source)) {
    float waited = 0;
    arrived = device::wait_for_signal(block.waits(), CudaStage::arrival, source,  // pair: dispatch.arrived
                                      block.arrived(group.rank, source), block.epoch * kCudaSignalStep, waited);
    if constexpr (kTimed) {
      operation_times().last[source] = waited;
      leave_waits(group, CudaKind::dispatch, block.epoch, source);
    }
  }
  const bool failed = __syncthreads_and(static_cast<int>(arrived)) == 0;
  if (threadIdx.x == 0) {
    if (failed) {
      write_failure(block);
    } else {
      finish_operation(group, block.state, block.epoch, block.slot);
    }
  }
  if constexpr (kTimed) end_times(group, CudaKind::dispatch, block.call().operation, block.epoch, failed);
}

/// All threads: rows and metadata out, signals, and in block 0 everyone's rows in.
template <CudaEncode kEncode, bool kTimed>
__device__ void move_rows(const DispatchBlock& block, Sender& sender, Lookup& lookup, int first_item,
                          std::int64_t entry_ns) {
  find_destinations(block);
  const DispatchPlan& plan = block.plan();
  const WarpRole role = role_of(plan, warp_index());
  switch (role) {
    case WarpRole::sender:
      if constexpr (kEncode == CudaEncode::copy) {
        send_copies(sender);
      } else {
        send_quantised(sender, lookup, first_item);
      }
      break;
    case WarpRole::metadata: {
      const std::int32_t num_rows = block.makes_route() ? own_rows(block).kept : block.call().route.sizes[1];
      write_metadata(MetadataTeam{block, plan.num_senders}, num_rows);
      break;
    }
    case WarpRole::clerk:
      if (!keeps_time()) break;
      if constexpr (kTimed) {
        if (lane_index() == 0) operation_times().exchanged = device::cycles();
      }
      write_result<kTimed>(block, entry_ns);  // the host's memory is far
      break;
  }
  if (role != WarpRole::clerk) {
    device::writes_to_peer_signals(  // pair: dispatch.arrived
        kClerkWarp * 32, block.num_ranks(), signal_share(),
        [&](int peer) { return block.call().group.has(peer) ? block.arrived(peer, block.rank()) : nullptr; });
  }
  if (blockIdx.x == 0) wait_for_arrivals<kTimed>(block);
}

template <CudaEncode kEncode, bool kTimed>
__global__ void __launch_bounds__(kCudaThreads, 1) dispatch_kernel(const __grid_constant__ DispatchParams p) {
  extern __shared__ __align__(128) std::byte shared_bytes[];
  const std::uint64_t entry_ns = keeps_time() ? device::global_time_ns() : 0;
  if constexpr (kTimed) start_times(entry_ns);
  const WarpRole role = role_of(p.plan, warp_index());
  CudaGroupState& group_state = *p.call.group.state;
  CudaKindState& state = group_state.kinds[static_cast<int>(CudaKind::dispatch)];
  bool ends = device::load_relaxed_device(&group_state.wait_state.failed) != 0;
  const DispatchBlock block{p, shared_bytes, state, state.epoch + 1, state.slot, tokens_of(p.call)};
  if (p.plan.is_brief && role == WarpRole::metadata) prefetch_inputs(p.call, p.plan);
  if (begins_operation()) ends |= !begin_operation(block.waits(), p.call.group, state);
  // One answer for the block: its warps meet at counted barriers.
  if (__syncthreads_or(static_cast<int>(ends)) != 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      write_failure(block);
      device::record_refusal(p.call.group.report);
    }
    return;
  }
  const bool sends = role == WarpRole::sender;
  Sender sender{block, warp_index()};
  Lookup lookup;
  int first_item = 0;
  switch (role) {
    case WarpRole::sender:
      start_sender(sender);
      if constexpr (kEncode != CudaEncode::copy) first_item = encode_first_item(sender);
      break;
    case WarpRole::metadata:
      if (block.makes_route()) begin_route(block);
      break;
    case WarpRole::clerk:
      if (blockIdx.x == gridDim.x - 1) publish_grant(block);
      if (begins_operation()) confirm_operation(block.waits(), p.call.group, state);
      if constexpr (kTimed) {
        if (keeps_time()) add_left_waits(p.call.group, CudaKind::dispatch);
      }
      break;
  }
  const bool joined = !block.makes_route() || join_slices(block);
  const auto look_up = [&] {
    if (!sends) return;
    if constexpr (kEncode == CudaEncode::copy) {
      look_up_ring(sender);
    } else {
      fetch(sender, first_item, 0, lookup);
      settle(sender, lookup);
      fetch(sender, sender.item(0), 0, lookup);
    }
  };
  if (joined && wait_for_exchange<kTimed>(block, look_up)) {
    move_rows<kEncode, kTimed>(block, sender, lookup, first_item, static_cast<std::int64_t>(entry_ns));
  } else {
    if (sends) abandon_sender(sender);
    if (blockIdx.x == 0) fail<kTimed>(block);
  }
}

}  // namespace

const void* dispatch_kernel_of(CudaEncode encode, bool timed) {
  if (encode == CudaEncode::copy) {
    return timed ? reinterpret_cast<const void*>(&dispatch_kernel<CudaEncode::copy, true>)
                 : reinterpret_cast<const void*>(&dispatch_kernel<CudaEncode::copy, false>);
  }
  return timed ? reinterpret_cast<const void*>(&dispatch_kernel<CudaEncode::bf16_to_fp8_e4m3, true>)
               : reinterpret_cast<const void*>(&dispatch_kernel<CudaEncode::bf16_to_fp8_e4m3, false>);
}

void launch_dispatch(const DispatchLaunch& launch) {
  const DispatchParams params{launch, DispatchPlan::of(launch)};
  const bool sends = params.plan.num_senders > 0;
  launch_kernel(dispatch_kernel_of(sends ? launch.rows.encode : CudaEncode::copy, launch.timed), &params,
                launch.num_blocks, params.plan.shared.bytes, launch.stream);
}

}  // namespace railyard::throughput
