// SPDX-License-Identifier: Apache-2.0
// Warps that move rows: into a ring of shared-memory stages, and from there to every destination at its final row.
//
// Work is handed out by tickets, a segment of a row each, because SMs are not equally fast on the link. A warp's first
// items are fixed, so that loads start before the route is known. A lane looks up and serves one or two destinations.
#pragma once

#include "throughput/cuda_dispatch_block.cuh"

#include <cstdint>

namespace railyard::throughput {

/// A piece of one token's row.
struct Item {
  int token;
  int segment;
};

/// One warp's view of its ring.
struct Sender {
  const DispatchBlock& block;
  int warp;
  std::uint32_t next = 0;    // lane 0: the last ticket
  std::uint32_t parity = 0;  // of the ring's barriers now

  static constexpr int kLookupsPerLane = 2;
  static_assert(kCudaMaxRanks <= 32 * kLookupsPerLane && kCudaMaxTopK <= 32, "a known route's slots take a lane each");

  [[nodiscard]] __device__ const DispatchPlan& plan() const { return block.plan(); }
  [[nodiscard]] __device__ int num_items() const { return block.tokens * plan().num_segments; }
  [[nodiscard]] __device__ int ring_index(int stage) const { return warp * plan().num_stages + stage; }
  [[nodiscard]] __device__ std::byte* stage(int index) const {
    return block.shared + plan().shared.stages + static_cast<std::size_t>(ring_index(index)) * plan().stage_bytes;
  }
  [[nodiscard]] __device__ std::uint64_t* barrier(int stage) const {
    return at<std::uint64_t>(block.shared, plan().shared.barriers) + ring_index(stage);
  }
  [[nodiscard]] __device__ int& item(int stage) const {
    return at<int>(block.shared, plan().shared.items)[ring_index(stage)];
  }
  /// Where a stage's item goes by its `lookup`th look-up; its row counts from this source's first there, -1: nowhere.
  /// Written and read by the same lane.
  [[nodiscard]] __device__ CudaTransfer& target(int stage, int lookup) const {
    return at<CudaTransfer>(block.shared, plan().shared.targets)[ring_index(stage) * plan().num_lookups + lookup];
  }
  [[nodiscard]] __device__ Item split(int item) const {
    if (plan().num_segments == 1) return {item, 0};
    const auto token = static_cast<int>(plan().by_segments.of(static_cast<std::uint32_t>(item)));
    return {token, item - token * plan().num_segments};
  }

  /// Items that warps hold from the start; tickets count from there.
  [[nodiscard]] __device__ std::uint32_t first_items() const {
    return gridDim.x * static_cast<std::uint32_t>(plan().num_senders * plan().num_stages);
  }
  /// Takes the next ticket ahead of its use; lane 0.
  __device__ void draw() {
    if (lane_index() == 0) next = device::draw_ticket(&block.state.tickets[block.epoch % 2]);
  }
  /// The item of the ticket drawn before, in all lanes; too large to be one when the work is done.
  [[nodiscard]] __device__ int drawn() const {
    const std::uint32_t item = __shfl_sync(~0U, next, 0) + first_items();
    return static_cast<int>(min(item, 0x7FFFFFFFU));
  }
};

/// What a lane reads to learn where an item goes: fetched one item ahead of its use.
struct Lookup {
  int item = 0x7FFFFFFF;
  int stage = 0;
  RouteGroup groups[Sender::kLookupsPerLane] = {};
  std::int32_t slice_rows[Sender::kLookupsPerLane] = {};
};

/// Lookup j of a rank that makes its route is destination rank + 1 + j: stores go out in this order, so that no
/// receiver is hit by all sources at once.
__device__ __forceinline__ int destination_of(const DispatchBlock& block, int lookup) {
  const int destination = block.rank() + 1 + lookup;
  return destination >= block.num_ranks() ? destination - block.num_ranks() : destination;
}

__device__ __forceinline__ void fetch(const Sender& sender, int item, int stage, Lookup& lookup) {
  const DispatchBlock& block = sender.block;
  lookup.item = item;
  lookup.stage = stage;
  if (item >= sender.num_items()) return;
  const int token = sender.split(item).token;
  const int num_ranks = block.num_ranks();
  if (!block.makes_route()) {  // a transfer takes the place of a group
    const int slots = sender.plan().num_lookups;
    if (lane_index() >= slots) return;
    const CudaTransfer transfer = block.call().route.transfers[static_cast<std::size_t>(token) * slots + lane_index()];
    lookup.groups[0] = {static_cast<std::uint32_t>(transfer.rank), transfer.row};
    return;
  }
  const int group = token / kTokensPerGroup;
#pragma unroll
  for (int i = 0; i < Sender::kLookupsPerLane; ++i) {
    const int index = lane_index() + 32 * i;
    if (index >= num_ranks) continue;
    const int destination = destination_of(block, index);
    lookup.groups[i] = block.groups()[static_cast<std::size_t>(group) * num_ranks + destination];
    lookup.slice_rows[i] = block.rows_before_slice(group, destination);
  }
}

/// The slots of a known route, taken up from the first one of a rank behind this one on. Where they ascend by rank (not
/// in the order of the highest k) that is the order of the destinations of a route that is made.
__device__ __forceinline__ CudaTransfer rotate_slots(const DispatchBlock& block, int slots, const Lookup& lookup) {
  const auto rank = static_cast<std::int32_t>(lookup.groups[0].tokens);
  const std::int32_t row = lookup.groups[0].before;
  const bool is_behind = lane_index() < slots && row >= 0 && rank > block.rank();
  const unsigned behind = __ballot_sync(~0U, static_cast<int>(is_behind));
  const int source = lane_index() + (behind == 0 ? 0 : __ffs(static_cast<int>(behind)) - 1);
  const int lane = source >= slots ? source - slots : source;
  return {.row = __shfl_sync(~0U, row, lane), .rank = __shfl_sync(~0U, rank, lane)};
}

/// Turns what was fetched into targets, kept beside the stage. Needs nothing that peers say.
__device__ __forceinline__ void settle(const Sender& sender, const Lookup& lookup) {
  const DispatchBlock& block = sender.block;
  if (lookup.item >= sender.num_items()) return;
  if (!block.makes_route()) {
    const int slots = sender.plan().num_lookups;
    const CudaTransfer target = rotate_slots(block, slots, lookup);
    if (lane_index() < slots) sender.target(lookup.stage, lane_index()) = target;
    return;
  }
  const int token = sender.split(lookup.item).token;
#pragma unroll
  for (int i = 0; i < Sender::kLookupsPerLane; ++i) {
    const int index = lane_index() + 32 * i;
    if (index >= block.num_ranks()) continue;
    sender.target(lookup.stage, index) = {.row = block.relative_row(lookup.groups[i], lookup.slice_rows[i], token),
                                          .rank = destination_of(block, index)};
  }
}

/// Bytes [begin, begin + size) of a segment in an array of `total` bytes per row.
struct Span {
  std::uint32_t begin;
  std::uint32_t size;
};

__device__ __forceinline__ Span segment_of(int segment, std::uint32_t segment_bytes, std::size_t total) {
  const std::size_t begin = static_cast<std::size_t>(segment) * segment_bytes;
  if (begin >= total) return {static_cast<std::uint32_t>(total), 0};
  return {static_cast<std::uint32_t>(begin),
          static_cast<std::uint32_t>(min(total - begin, std::size_t{segment_bytes}))};
}

/// The warp copies `size` bytes from any address, and clears up to the next multiple of 16.
__device__ __noinline__ inline void copy_elements(std::byte* shared, const std::byte* source, std::uint32_t size) {
  if ((reinterpret_cast<std::uintptr_t>(source) | size) % 4 == 0) {
    for (std::uint32_t i = static_cast<std::uint32_t>(lane_index()) * 4; i < size; i += 128) {
      *at<std::uint32_t>(shared, i) = *reinterpret_cast<const std::uint32_t*>(source + i);
    }
  } else {
    for (std::uint32_t i = static_cast<std::uint32_t>(lane_index()); i < size; i += 32) shared[i] = source[i];
  }
  const std::uint32_t end = (size + 15) / 16 * 16;
  for (std::uint32_t i = size + static_cast<std::uint32_t>(lane_index()); i < end; i += 32) shared[i] = std::byte{0};
}

/// The warp gathers scales [first, first + count) of a row that lie `scale_step` bytes apart.
__device__ __noinline__ inline void gather_scales(std::byte* shared, const CudaRows& rows, const std::byte* source,
                                                  Span span) {
  const auto element = static_cast<std::uint32_t>(rows.scale_element);
  const std::uint32_t first = span.begin / element;
  const std::uint32_t count = span.size / element;
  for (std::uint32_t i = static_cast<std::uint32_t>(lane_index()); i < count; i += 32) {
    const std::byte* const scale = source + (first + i) * rows.scale_step;
    if (element == 4) {
      const uchar4 bytes = {static_cast<unsigned char>(scale[0]), static_cast<unsigned char>(scale[1]),
                            static_cast<unsigned char>(scale[2]), static_cast<unsigned char>(scale[3])};
      *at<uchar4>(shared, i * 4) = bytes;
    } else {
      shared[i] = *scale;
    }
  }
  const std::uint32_t end = (span.size + 15) / 16 * 16;
  for (std::uint32_t i = span.size + static_cast<std::uint32_t>(lane_index()); i < end; i += 32) {
    shared[i] = std::byte{0};
  }
}

/// The warp starts (bulk) or does (element loads) the load of an item into a stage; its barrier completes with it.
__device__ __forceinline__ void load(const Sender& sender, int item, int stage) {
  const DispatchPlan& plan = sender.plan();
  const CudaRows& rows = sender.block.call().rows;
  const Item piece = sender.split(item);
  const auto token = static_cast<std::size_t>(piece.token);
  std::byte* const buffer = sender.stage(stage);
  const Span row = segment_of(piece.segment, plan.input_segment, rows.bytes);
  const std::byte* const row_source = rows.data + token * rows.pitch + row.begin;
  Span scales{0, 0};
  const std::byte* scale_source = nullptr;
  if (rows.scales != nullptr) {
    scales = segment_of(piece.segment, plan.scale_segment, plan.shape.scale_bytes);
    scale_source = rows.scales + token * rows.scale_pitch;
  }
  if (!plan.bulk_rows || (scales.size > 0 && !plan.bulk_scales)) {
    if (!plan.bulk_rows) copy_elements(buffer, row_source, row.size);
    if (scales.size > 0 && !plan.bulk_scales) gather_scales(buffer + plan.scale_offset, rows, scale_source, scales);
    device::shared_writes_to_bulk_reads();
  }
  if (lane_index() != 0) return;
  const std::uint32_t row_bytes = plan.bulk_rows ? row.size : 0;
  const std::uint32_t scale_bytes = plan.bulk_scales ? scales.size : 0;
  device::barrier_arrive_expecting(sender.barrier(stage), row_bytes + scale_bytes);
  if (row_bytes > 0) device::bulk_load(buffer, row_source, row_bytes, sender.barrier(stage));
  if (scale_bytes > 0) {
    device::bulk_load(buffer + plan.scale_offset, scale_source + scales.begin, scale_bytes, sender.barrier(stage));
  }
}

/// Each lane writes the wire row and scales of a stage to its destinations, as one group of bulk stores.
__device__ __forceinline__ void store(const Sender& sender, int item, int stage) {
  const DispatchBlock& block = sender.block;
  const DispatchPlan& plan = sender.plan();
  const Item piece = sender.split(item);
  const Span row = segment_of(piece.segment, plan.wire_segment, plan.shape.row_pitch);
  const Span scales = segment_of(piece.segment, plan.scale_segment, plan.shape.scale_pitch);
  const std::byte* const buffer = sender.stage(stage);
#pragma unroll
  for (int i = 0; i < Sender::kLookupsPerLane; ++i) {
    const int index = lane_index() + 32 * i;
    if (index >= plan.num_lookups) continue;
    const CudaTransfer target = sender.target(stage, index);
    if (target.row < 0) continue;
    const Destination& destination = block.destinations()[target.rank];
    const std::int32_t row_there = target.row + destination.first;
    if (row_there >= destination.capacity) continue;
    const auto at_row = static_cast<std::size_t>(row_there);
    device::bulk_store(destination.rows + at_row * plan.shape.row_pitch + row.begin, buffer + plan.output_offset,
                       row.size);
    if (scales.size > 0) {
      device::bulk_store(destination.scales + at_row * plan.shape.scale_pitch + scales.begin,
                         buffer + plan.scale_offset, scales.size);
    }
  }
  device::bulk_commit();
}

/// One sender warp, before the route: barriers, first items, and their loads where the copy engine can do them.
__device__ inline void start_sender(Sender& sender) {
  const DispatchPlan& plan = sender.plan();
  if (lane_index() == 0) {
    for (int stage = 0; stage < plan.num_stages; ++stage) device::barrier_init(sender.barrier(stage));
    device::fence_barrier_init();
  }
  __syncwarp();
  for (int stage = 0; stage < plan.num_stages; ++stage) {
    const int item =
        static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) * (sender.warp + plan.num_senders * stage);
    if (lane_index() == 0) sender.item(stage) = item;
    if (item < sender.num_items()) load(sender, item, stage);
  }
  sender.draw();
  __syncwarp();
}

/// One sender warp of a group that has failed: nothing may be in flight when the block ends.
__device__ inline void abandon_sender(const Sender& sender) {
  for (int stage = 0; stage < sender.plan().num_stages; ++stage) {
    if (sender.item(stage) < sender.num_items()) device::barrier_wait(sender.barrier(stage), sender.parity);
  }
}

/// One sender warp, once the slices are joined (or along a known route), while the peers' words are under way: where
/// the rows of its ring go.
__device__ inline void look_up_ring(const Sender& sender) {
  for (int stage = 0; stage < sender.plan().num_stages; ++stage) {
    Lookup lookup;
    fetch(sender, sender.item(stage), stage, lookup);
    settle(sender, lookup);
  }
}

/// Role: sender, rows copied. Ring: stage s is loaded, stored, and refilled once the store after it has been issued;
/// where its new item goes is known one store later, before its turn comes again (kMinStages). To ask and to settle in
/// one turn, in front of the store or behind the load, is slower along a route (docs/measurements).
__device__ inline void send_copies(Sender& sender) {
  const int num_stages = sender.plan().num_stages;
  Lookup ahead;
  int stage = 0;
  int refill = 0;
  for (bool first = true;; first = false) {
    const int item = sender.item(stage);
    if (item >= sender.num_items()) break;
    device::barrier_wait(sender.barrier(stage), sender.parity);
    store(sender, item, stage);
    if (++stage == num_stages) {
      stage = 0;
      sender.parity ^= 1;
    }
    if (first) continue;
    const int next = sender.drawn();
    if (next < sender.num_items()) {
      sender.draw();
      device::bulk_wait_read<1>();
      device::debug_delay();
    }
    settle(sender, ahead);
    __syncwarp();
    if (lane_index() == 0) sender.item(refill) = next;
    fetch(sender, next, refill, ahead);
    if (next < sender.num_items()) load(sender, next, refill);
    __syncwarp();
    if (++refill == num_stages) refill = 0;
  }
}

}  // namespace railyard::throughput
