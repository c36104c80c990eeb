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
#include "throughput/cuda_combine_plan.hpp"
#include "throughput/cuda_kernels.hpp"
#include "throughput/cuda_mailbox.cuh"
#include "throughput/cuda_reduce.cuh"

#include <type_traits>

namespace railyard::throughput {
namespace {

/// What a stage of a ring holds, or will.
struct alignas(8) PendingLoad {
  static constexpr int kEnd = 0x7FFFFFFF;
  static constexpr std::uint32_t kFirst = 1;  // of its item
  static constexpr std::uint32_t kLast = 2;
  static constexpr std::uint32_t kData = 4;  // there is a row
  static constexpr std::uint32_t kNan = 8;   // a row was lost: the item is NaN
  int token;
  std::uint32_t flags;  // and the chunk, from bit kChunkShift on
  static constexpr int kChunkShift = 8;

  /// All of these.
  [[nodiscard]] __device__ bool has(std::uint32_t wanted) const { return (flags & wanted) == wanted; }
  [[nodiscard]] __device__ std::uint32_t chunk() const { return flags >> kChunkShift; }
};

struct RingStage {
  std::uint64_t barrier;
  PendingLoad load;
};
static_assert(sizeof(RingStage) == kRingStageBytes);

/// One warp's, in shared memory.
struct Ring {
  std::byte* bytes;   // [stages, chunk]
  RingStage* stages;  // [stages]
};

struct CombineBlock {
  const CombineParams& p;
  std::byte* shared;
  CudaKindState& state;
  std::uint64_t epoch;
  std::uint32_t slot;
  int num_items;  // tokens x chunks

  [[nodiscard]] __device__ const CudaGroup& group() const { return p.call.group; }
  [[nodiscard]] __device__ device::WaitScope waits() const {
    return {&group().state->failed, group().host_control, group().report, CudaOperation::combine, epoch};
  }
  [[nodiscard]] __device__ std::uint64_t* readers_done(int owner, int reader) const {
    return at<std::uint64_t>(group().heaps[owner],
                             group().control_offset + group().control.readers_done_signal(reader));
  }
  [[nodiscard]] __device__ PulledRows* sources() const { return at<PulledRows>(shared, p.plan.shared.sources); }
  [[nodiscard]] __device__ std::uint32_t* words(int source) const {
    return at<std::uint32_t>(shared, p.plan.shared.words) + source * kGrantWords;
  }
  [[nodiscard]] __device__ std::uint64_t wide_word(int source, MailboxWord low) const {
    const std::uint32_t* const word = words(source) + static_cast<int>(low);
    return static_cast<std::uint64_t>(word[1]) << 32 | word[0];
  }
  [[nodiscard]] __device__ Ring ring() const {
    const auto first = static_cast<std::uint32_t>(warp_index() * p.plan.num_stages);
    return {shared + first * p.plan.chunk, at<RingStage>(shared, p.plan.shared.stages) + first};
  }
  /// Bytes of y from the row's begin to a chunk's, and in it.
  [[nodiscard]] __device__ std::uint32_t chunk_begin(std::uint32_t chunk) const { return chunk * p.plan.chunk; }
  [[nodiscard]] __device__ std::uint32_t chunk_bytes(std::uint32_t chunk) const {
    return min(p.plan.chunk, p.plan.row_bytes - chunk_begin(chunk));
  }
  /// Of the load's chunk, 16 bytes each.
  [[nodiscard]] __device__ int num_vectors(const PendingLoad& load) const {
    return static_cast<int>(chunk_bytes(load.chunk()) / 16);
  }
  /// The load's chunk of out, where out is as y.
  [[nodiscard]] __device__ std::byte* packed_out(const PendingLoad& load) const {
    return p.call.out + static_cast<std::size_t>(load.token) * p.call.out_pitch + chunk_begin(load.chunk());
  }
};

/// An item, taken apart: a chunk of a token's row.
struct Piece {
  int token = PendingLoad::kEnd;
  std::uint32_t chunk = 0;
};

/// An item whose transfers are on their way here, and the ticket behind it.
struct Fetched {
  Piece piece;
  CudaTransfer transfer{CudaTransfer::kNone, 0};  // lane s: of slot s
  std::uint32_t ticket = 0;                       // lane 0: less the two that each warp has without drawing
};

/// The items of one warp from ticket to load. Everything that a load needs is computed when its item is taken up, so
/// that a stage is filled again as soon as it is free. Plain: CombinePlan::plain_vectors is not 0.
template <bool kPlain>
struct Producer {
  const CombineBlock& block;
  Piece piece;                        // being loaded
  const std::byte* source = nullptr;  // of this lane's row
  std::uint32_t bytes = 0;
  std::uint32_t rest = 0;   // slots whose rows are still to be loaded
  std::uint32_t flags = 0;  // of the next load
  Fetched ahead;            // the item after it

  [[nodiscard]] __device__ Fetched fetch(std::uint32_t item) const {
    Fetched fetched;
    if (item >= static_cast<std::uint32_t>(block.num_items)) return fetched;
    const CudaRoute& route = block.p.call.route;
    const int slots = route.slots(block.group().num_ranks);
    const std::uint32_t token = block.p.plan.by_chunks.of(item);
    fetched.piece = {static_cast<int>(token), item - token * static_cast<std::uint32_t>(block.p.plan.num_chunks)};
    if (lane_index() < slots) {
      fetched.transfer = route.transfers[static_cast<std::size_t>(token) * slots + lane_index()];
    }
    return fetched;
  }
  /// The item behind the one ahead: on its way, not waited for.
  [[nodiscard]] __device__ Fetched fetch_next() const {
    if (ahead.piece.token == PendingLoad::kEnd) return {};
    const std::uint32_t undrawn = gridDim.x * static_cast<std::uint32_t>(block.p.plan.num_reducers) * 2;
    Fetched fetched = fetch(__shfl_sync(~0U, ahead.ticket, 0) + undrawn);
    if (fetched.piece.token != PendingLoad::kEnd && lane_index() == 0) {
      fetched.ticket = device::draw_ticket(&block.state.tickets[block.epoch % 2]);
    }
    return fetched;
  }
  /// Whether its next load is the last of its item.
  [[nodiscard]] __device__ bool ends_item() const {
    return (rest & (rest - 1)) == 0 && piece.token != PendingLoad::kEnd;
  }
  /// The item ahead is loaded next; the caller puts the one behind it in its place.
  __device__ void take_up() {
    piece = ahead.piece;
    if (piece.token == PendingLoad::kEnd) return;
    const CudaTransfer transfer = ahead.transfer;
    const bool has_row = transfer.row >= 0;
    bool is_lost = transfer.row == CudaTransfer::kLost;
    if (has_row) {
      const PulledRows rows = block.sources()[transfer.rank];
      is_lost = rows.exhausted != 0;
      source = rows.rows + std::uint64_t{static_cast<std::uint32_t>(transfer.row)} * rows.pitch16 * 16 +
               block.chunk_begin(piece.chunk);
    }
    const bool lost = __any_sync(~0U, static_cast<int>(is_lost)) != 0;
    rest = lost ? 0 : __ballot_sync(~0U, static_cast<int>(has_row));
    bytes = kPlain ? block.p.plan.chunk : block.chunk_bytes(piece.chunk);
    flags = PendingLoad::kFirst | piece.chunk << PendingLoad::kChunkShift;
    if (lost) flags |= PendingLoad::kNan;
  }
};

/// The warp starts the next load into a free stage, or marks the end.
template <bool kPlain>
__device__ __forceinline__ void produce(Producer<kPlain>& producer, const Ring& ring, int index) {
  RingStage& stage = ring.stages[index];
  if (producer.piece.token == PendingLoad::kEnd) {
    if (lane_index() == 0) stage.load = {PendingLoad::kEnd, 0};
    return;
  }
  const std::uint32_t rest = producer.rest;
  const std::uint32_t after = rest & (rest - 1);
  // The lane of the lowest slot left; lane 0 where there is no row at all.
  if ((rest == 0 && lane_index() == 0) || (rest ^ after) == 1U << lane_index()) {
    const std::uint32_t bytes = rest != 0 ? producer.bytes : 0;
    device::barrier_arrive_expecting(&stage.barrier, bytes);
    if (rest != 0) {
      device::bulk_load(ring.bytes + static_cast<std::uint32_t>(index) * producer.block.p.plan.chunk, producer.source,
                        bytes, &stage.barrier);
    }
    stage.load = {producer.piece.token,
                  producer.flags | (after == 0 ? PendingLoad::kLast : 0) | (rest != 0 ? PendingLoad::kData : 0)};
  }
  producer.rest = after;
  producer.flags &= ~PendingLoad::kFirst;
}

/// One lane's part of an item: vector v of the lane is the (v * 32 + lane)th of the chunk.
template <DType kY, int kVectors>
struct Accumulator {
  static constexpr int kCount = kElements<kY>;
  float values[kVectors][kCount];

  /// +0 or the biases, in front of the rows: a sum of -0 is +0.
  __device__ __forceinline__ void start(const CombineBlock& block, const PendingLoad& load) {
#pragma unroll
    for (auto& vector : values) {
#pragma unroll
      for (float& value : vector) value = 0.0F;
    }
    const CombineLaunch& call = block.p.call;
    if (call.biases[0].data == nullptr) return;
    const auto token = static_cast<std::size_t>(load.token);
    const int num_vectors = block.num_vectors(load);
    const std::size_t first_element = block.chunk_begin(load.chunk()) / (kY == DType::fp32 ? 4 : 2);
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const auto& bias = call.biases[which];
      if (bias.data == nullptr) break;
      const std::byte* const row = bias.data + token * bias.pitch + first_element * element_bytes(bias.dtype);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int index = v * 32 + lane_index();
        if (index >= num_vectors) continue;
        float loaded[kCount];
        load_elements(row + static_cast<std::size_t>(index) * kCount * element_bytes(bias.dtype), bias.dtype,
                      block.p.plan.vector_bias[which], loaded);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          values[v][i] = which == 0 ? loaded[i] : __fadd_rn(values[v][i], loaded[i]);
        }
      }
    }
  }

  /// Adds a chunk to the values, or to +0 where it `sets` them.
  template <bool kSets>
  __device__ __forceinline__ void add(const std::byte* chunk, int num_vectors) {
    const uint4* const mine = reinterpret_cast<const uint4*>(chunk) + lane_index();
    uint4 vectors[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      vectors[v] = v * 32 + lane_index() < num_vectors ? mine[v * 32] : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      float row[kCount];
      unpack<kY>(vectors[v], row);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[v][i] = __fadd_rn(kSets ? 0.0F : values[v][i], row[i]);
    }
  }

  /// A vector of out for each of y: a fifth of the instructions.
  __device__ __forceinline__ void finish_packed(const CombineBlock& block, const PendingLoad& load,
                                                int num_vectors) const {
    std::byte* const out = block.packed_out(load) + lane_index() * 16;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (v * 32 + lane_index() < num_vectors) device::store_streaming(out + v * kChunkStep, pack<kY>(values[v]));
    }
  }

  __device__ __forceinline__ void finish(const CombineBlock& block, const PendingLoad& load) const {
    const CombineLaunch& call = block.p.call;
    const bool nan = load.has(PendingLoad::kNan);
    const int num_vectors = block.num_vectors(load);
    if (block.p.plan.packed_out && !nan) return finish_packed(block, load, num_vectors);
    const auto token = static_cast<std::size_t>(load.token);
    const std::size_t first_element = block.chunk_begin(load.chunk()) / (kY == DType::fp32 ? 4 : 2);
    std::byte* const row = call.out + token * call.out_pitch + first_element * element_bytes(call.out_dtype);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int index = v * 32 + lane_index();
      if (index >= num_vectors) continue;
      float result[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) result[i] = nan ? __uint_as_float(0x7FFFFFFFU) : values[v][i];
      store_elements(row + static_cast<std::size_t>(index) * kCount * element_bytes(call.out_dtype), call.out_dtype,
                     block.p.plan.vector_out, result);
    }
  }
};

/// What a warp does with a stage of a plain launch.
template <DType kY, int kVectors>
struct PlainReduction {
  static_assert(kY == DType::bf16 || kY == DType::fp16);
  static constexpr int kAll = kVectors * 32;  // vectors of a chunk
  Accumulator<kY, kVectors> accumulator;

  __device__ __forceinline__ void prepare(const CombineBlock&, const PendingLoad&) {}
  __device__ __forceinline__ void add(const CombineBlock&, const PendingLoad& load, const std::byte* chunk) {
    if (load.has(PendingLoad::kFirst | PendingLoad::kData)) {
      accumulator.template add<true>(chunk, kAll);
    } else if (load.has(PendingLoad::kData)) {
      accumulator.template add<false>(chunk, kAll);
    }
  }
  __device__ __forceinline__ void finish(const CombineBlock& block, const PendingLoad& load) const {
    if (load.has(PendingLoad::kData)) return accumulator.finish_packed(block, load, kAll);
    // No row at all, or lost ones.
    const std::uint32_t word = load.has(PendingLoad::kNan) ? 0x7FFF7FFFU : 0;
    std::byte* const out = block.packed_out(load) + lane_index() * 16;
#pragma unroll 1
    for (int v = 0; v < kVectors; ++v) device::store_streaming(out + v * kChunkStep, {word, word, word, word});
  }
};

/// The same of any other launch.
template <DType kY>
struct GeneralReduction {
  static constexpr int kAll = kVectorsPerLane * 32;
  Accumulator<kY, kVectorsPerLane> accumulator;

  /// In front of the wait for the row: biases are on their way meanwhile.
  __device__ __forceinline__ void prepare(const CombineBlock& block, const PendingLoad& load) {
    if (load.has(PendingLoad::kFirst)) accumulator.start(block, load);
  }
  __device__ __forceinline__ void add(const CombineBlock& block, const PendingLoad& load, const std::byte* chunk) {
    if (!load.has(PendingLoad::kData)) return;
    const int num_vectors = block.num_vectors(load);
    if (num_vectors == kAll) {
      accumulator.template add<false>(chunk, kAll);
    } else {
      accumulator.template add<false>(chunk, num_vectors);
    }
  }
  __device__ __forceinline__ void finish(const CombineBlock& block, const PendingLoad& load) const {
    accumulator.finish(block, load);
  }
};

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
  bool ends = device::load_relaxed_device(&group_state.failed) != 0;
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
    using Reduction = std::conditional_t<kPlain, PlainReduction<kY, kPlain ? kPlainVectors : 1>, GeneralReduction<kY>>;
    if (reduces) reduce_items<Reduction>(block, producer);
    device::reads_to_peer_signals(block.group().num_ranks, signal_share(), [&](int peer) {  // pair: combine.read
      return block.group().has(peer) ? block.readers_done(peer, block.group().rank) : nullptr;
    });
    if (blockIdx.x == 0) wait_for_readers<kTimed>(block);
  } else if (blockIdx.x == 0) {
    if (threadIdx.x == 0) write_result(block, true);
    if constexpr (kTimed) end_times_early(block.group(), CudaKind::combine, CudaOperation::combine, block.epoch);
  }
}

}  // namespace

namespace {

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
