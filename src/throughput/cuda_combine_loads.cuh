// SPDX-License-Identifier: Apache-2.0
// Combine's loads: which rows a reducer warp pulls next, from the ticket of an item to the bulk load into a stage.
//
// Work is handed out by tickets, a chunk of a token's row each. A warp's first two items are fixed.
#pragma once

#include "throughput/cuda_combine_block.cuh"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

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

}  // namespace railyard::throughput
