// SPDX-License-Identifier: Apache-2.0
// Combine in throughput mode: the owner of a token pulls its rows from the ranks that computed them, and adds.
//
//   roles     reducer warps with a ring each; one block also tells where y is, block 0 waits for the
//             readers
//   reads     y of all ranks in their heaps, the route's transfers, biases
//   writes    out, the result
//   order     y -> release of the offer -> acquire -> bulk reads -> reads done -> signals; block 0 waits for everyone's
//   ends      when out is complete and no peer reads y any more; block 0 then advances epoch and slot
#include "throughput/cuda_begin_end.cuh"
#include "throughput/cuda_combine_loads.cuh"
#include "throughput/cuda_combine_sums.cuh"
#include "throughput/cuda_kernels.hpp"

namespace railyard::throughput {
namespace {

/// Role: reducer. Stages come in the order of the sum; a stage is loaded again as soon as the warp has read it. What
/// the item behind the next needs is asked for in front of the sum and taken behind it: on the way around the loop the
/// compiler would wait for it. Other launches than plain ones have no registers left for that.
template <class Reduction, bool kPlain>
__device__ __forceinline__ void reduce_items(const CombineBlock& block, Producer<kPlain>& producer) {
  const int num_stages = block.p.plan.num_stages;
  const Ring ring = block.ring();
  producer.take_up();
  for (int stage = 0; stage < num_stages; ++stage) {
    const bool advances = producer.ends_item();
    produce(producer, ring, stage);
    // The first load leaves in front of the first look-up; until then the item ahead is the one that is loaded.
    if (stage == 0) producer.ahead = producer.fetch_next();
    if (!advances) continue;
    producer.take_up();
    producer.ahead = producer.fetch_next();
  }
  __syncwarp();
  Reduction reduction;
  std::uint32_t parity = 0;
  int stage = 0;
  PendingLoad load = ring.stages[stage].load;
  while (load.token != PendingLoad::kEnd) {
    const bool advances = producer.ends_item();
    Fetched beyond;
    if (kPlain && advances) beyond = producer.fetch_next();
    reduction.prepare(block, load);
    device::barrier_wait(&ring.stages[stage].barrier, parity);
    reduction.add(block, load, ring.bytes + static_cast<std::uint32_t>(stage) * block.p.plan.chunk);
    device::debug_delay();
    __syncwarp();  // the stage has been read, and what was noted of the next one is visible
    const int next_stage = stage + 1 == num_stages ? 0 : stage + 1;
    const PendingLoad next = ring.stages[next_stage].load;
    produce(producer, ring, stage);
    if (load.has(PendingLoad::kLast)) reduction.finish(block, load);
    if (advances) {
      producer.take_up();
      producer.ahead = kPlain ? beyond : producer.fetch_next();
    }
    load = next;
    stage = next_stage;
    if (stage == 0) parity ^= 1;
  }
}

/// One warp: where this rank's y is.
__device__ void publish_offer(const CombineBlock& block) {
  const CombineLaunch& call = block.p.call;
  publish_grant_words(call.group, CudaKind::combine, block.slot, static_cast<std::uint32_t>(block.epoch),
                      [&](MailboxWord word) -> std::uint64_t {
                        switch (word) {
                          case MailboxWord::descriptor:
                            return call.descriptor;
                          case MailboxWord::code:
                            return static_cast<std::uint64_t>(call.code);
                          case MailboxWord::payload_low:
                            return call.y_offset;
                          case MailboxWord::payload_high:
                            return call.y_offset >> 32;
                          case MailboxWord::row_pitch:
                            return call.y_pitch / 16;
                          case MailboxWord::wanted_low:
                            return call.wanted_bytes;
                          case MailboxWord::wanted_high:
                            return call.wanted_bytes >> 32;
                          case MailboxWord::free_low:
                            return call.free_bytes;
                          case MailboxWord::free_high:
                            return call.free_bytes >> 32;
                          case MailboxWord::rows_needed:
                            return static_cast<std::uint64_t>(call.rows_needed);
                          default:
                            return 0;
                        }
                      });
}

/// All threads, after the offers were acquired; ends with bulk reads of them in order (chain 2).
__device__ void find_sources(const CombineBlock& block) {
  const int source = static_cast<int>(threadIdx.x);
  if (source < block.group().num_ranks) {
    const std::uint32_t* const words = block.words(source);
    block.sources()[source] = {
        block.group().heaps[source] + block.wide_word(source, MailboxWord::payload_low),
        words[static_cast<int>(MailboxWord::row_pitch)],
        words[static_cast<int>(MailboxWord::code)] == static_cast<std::uint32_t>(ErrorCode::heap_exhausted) ? 1U : 0U};
  }
  device::peer_signals_to_bulk_reads();
}

/// One thread of block 0.
__device__ void write_result(const CombineBlock& block, bool failed) {
  CudaCombineResult result;
  result.epoch = block.epoch;
  result.wait_code = static_cast<std::uint32_t>(failed ? ErrorCode::suspended : ErrorCode::ok);
  for (int rank = 0; !failed && rank < block.group().num_ranks; ++rank) {
    if (block.sources()[rank].exhausted == 0) continue;
    if (result.status.rank < 0) {
      result.status.code = ErrorCode::heap_exhausted;
      result.status.rank = rank;
      result.status.needed = static_cast<std::int64_t>(block.wide_word(rank, MailboxWord::wanted_low));
      result.status.capacity = static_cast<std::int64_t>(block.wide_word(rank, MailboxWord::free_low));
    }
    result.status.count += block.words(rank)[static_cast<int>(MailboxWord::rows_needed)];
  }
  if (block.p.call.result != nullptr) *block.p.call.result = result;
  if (block.p.call.host_result != nullptr) *block.p.call.host_result = result;
}

/// Block 0, all threads: no peer reads this rank's y any more, or the group has failed.
template <bool kTimed>
__device__ void wait_for_readers(const CombineBlock& block) {
  const int reader = static_cast<int>(threadIdx.x);
  bool done = true;
  if constexpr (kTimed) {
    if (threadIdx.x == kCudaThreads - 1) operation_times().moved = device::cycles();
  }
  if (reader < block.group().num_ranks && block.group().has(reader)) {
    float waited = 0;
    done =
        device::wait_for_signal(block.waits(), CudaStage::readers, reader,  // pair: combine.read
                                block.readers_done(block.group().rank, reader), block.epoch * kCudaSignalStep, waited);
    if constexpr (kTimed) {
      operation_times().last[reader] = waited;
      leave_waits(block.group(), CudaKind::combine, block.epoch, reader);
    }
  }
  const bool failed = __syncthreads_and(static_cast<int>(done)) == 0;
  if (threadIdx.x == 0) {
    if (failed) {
      write_result(block, true);
    } else {
      finish_operation(block.group(), block.state, block.epoch, block.slot);
    }
  }
  if constexpr (kTimed) end_times(block.group(), CudaKind::combine, CudaOperation::combine, block.epoch, failed);
}

/// `kPlainVectors`: CombinePlan::plain_vectors.
template <DType kY, int kPlainVectors, bool kTimed>
__global__ void __launch_bounds__(kCudaThreads, 1) combine_kernel(const __grid_constant__ CombineParams p) {
  extern __shared__ __align__(128) std::byte shared_bytes[];
  if constexpr (kTimed) {
    start_times(keeps_time() && p.call.group.trace != nullptr ? device::global_time_ns() : 0);
  }
  CudaGroupState& group_state = *p.call.group.state;
  CudaKindState& state = group_state.kinds[static_cast<int>(CudaKind::combine)];
  const int num_tokens = min(p.call.route.sizes[0], p.call.route.max_tokens);
  const CombineBlock block{p, shared_bytes, state, state.epoch + 1, state.slot, num_tokens * p.plan.num_chunks};
  bool ends = device::load_relaxed_device(&group_state.wait_state.failed) != 0;
  if (begins_operation()) ends |= !begin_operation(block.waits(), p.call.group, state);
  // One answer for the block: rows of a warp that left would be missing. Nothing of the route has been used: where its
  // dispatch failed, nobody has written it.
  if (__syncthreads_or(static_cast<int>(ends)) != 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      write_result(block, true);
      device::record_refusal(p.call.group.report);
    }
    return;
  }
  if (blockIdx.x == gridDim.x - 1 && warp_index() == kWarps - 1) publish_offer(block);
  if (begins_operation()) confirm_operation(block.waits(), p.call.group, state);
  if constexpr (kTimed) {
    if (keeps_time()) add_left_waits(p.call.group, CudaKind::combine);
  }
  constexpr bool kPlain = kPlainVectors != 0;
  Producer<kPlain> producer{block};
  const std::uint32_t first_item = blockIdx.x + gridDim.x * static_cast<std::uint32_t>(warp_index());
  const bool reduces = warp_index() < p.plan.num_reducers;
  if (reduces) producer.ahead = producer.fetch(first_item);
  if (lane_index() == 0) {
    producer.ahead.ticket = first_item - gridDim.x * static_cast<std::uint32_t>(p.plan.num_reducers);  // modulo 2^32
    const Ring ring = block.ring();
    for (int stage = 0; reduces && stage < p.plan.num_stages; ++stage)
      device::barrier_init(&ring.stages[stage].barrier);
    device::fence_barrier_init();
  }
  const bool exchanged = wait_for_words<kTimed>(
      block.waits(), block.group(), CudaKind::combine, block.slot, kGrantWords, p.call.descriptor, block.words(0),
      [](int, int) { return true; }, [] {});
  if (exchanged) {
    find_sources(block);
    // Here: the host's memory is far, and at the end everybody would wait for it.
    if (blockIdx.x == 0 && threadIdx.x == kCudaThreads - 1) {
      if constexpr (kTimed) operation_times().exchanged = device::cycles();
      write_result(block, false);
    }
    if (reduces) reduce_items<typename ReductionOf<kY, kPlainVectors>::Type>(block, producer);
    device::reads_to_peer_signals(block.group().num_ranks, signal_share(), [&](int peer) {  // pair: combine.read
      return block.group().has(peer) ? block.readers_done(peer, block.group().rank) : nullptr;
    });
    if (blockIdx.x == 0) wait_for_readers<kTimed>(block);
  } else if (blockIdx.x == 0) {
    if (threadIdx.x == 0) write_result(block, true);
    if constexpr (kTimed) end_times_early(block.group(), CudaKind::combine, CudaOperation::combine, block.epoch);
  }
}

template <DType kY, int kPlainVectors>
const void* combine_kernel_of(bool timed) {
  return timed ? reinterpret_cast<const void*>(&combine_kernel<kY, kPlainVectors, true>)
               : reinterpret_cast<const void*>(&combine_kernel<kY, kPlainVectors, false>);
}

template <DType kY>
const void* combine_kernel_of(int plain_vectors, bool timed) {
  switch (plain_vectors) {
    case 7:
      return combine_kernel_of<kY, 7>(timed);
    case 6:
      return combine_kernel_of<kY, 6>(timed);
    case 5:
      return combine_kernel_of<kY, 5>(timed);
    case 4:
      return combine_kernel_of<kY, 4>(timed);
    default:
      return combine_kernel_of<kY, 0>(timed);
  }
}
static_assert(kMinPlainVectors == 4 && kVectorsPerLane == 7);

}  // namespace

const void* combine_kernel_of(DType y_dtype, int plain_vectors, bool timed) {
  switch (y_dtype) {
    case DType::bf16:
      return combine_kernel_of<DType::bf16>(plain_vectors, timed);
    case DType::fp16:
      return combine_kernel_of<DType::fp16>(plain_vectors, timed);
    default:
      return combine_kernel_of<DType::fp32, 0>(timed);
  }
}

void launch_combine(const CombineLaunch& launch) {
  const CombineParams params{launch, CombinePlan::of(launch)};
  launch_kernel(combine_kernel_of(launch.y_dtype, params.plan.plain_vectors, launch.timed), &params, launch.num_blocks,
                params.plan.shared.bytes, launch.stream);
}

}  // namespace railyard::throughput
