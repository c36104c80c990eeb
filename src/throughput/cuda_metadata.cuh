// SPDX-License-Identifier: Apache-2.0
// Warps that write everything about rows but the rows: origins, local ids, weights and expert counts at the
// destinations, the transfers of the route here, and this rank's own rows above the count.
#pragma once

#include "device/named_barrier.cuh"
#include "throughput/cuda_dispatch_block.cuh"

#include <cstdint>

namespace railyard::throughput {

/// The metadata warps of all blocks as one team.
struct MetadataTeam {
  const DispatchBlock& block;
  int first_warp;  // of this block's metadata warps

  [[nodiscard]] __device__ int warps() const { return kClerkWarp - first_warp; }
  [[nodiscard]] __device__ int threads() const { return warps() * 32; }
  /// Index of this warp, and of this thread, among those of all blocks; blocks come first, to spread small work.
  [[nodiscard]] __device__ int warp() const {
    return (warp_index() - first_warp) * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  }
  [[nodiscard]] __device__ int all_warps() const { return warps() * static_cast<int>(gridDim.x); }
  [[nodiscard]] __device__ std::size_t thread() const {
    return static_cast<std::size_t>(warp()) * 32 + static_cast<std::size_t>(lane_index());
  }
  [[nodiscard]] __device__ std::size_t all_threads() const { return static_cast<std::size_t>(all_warps()) * 32; }
  [[nodiscard]] __device__ std::uint8_t* scratch() const {
    return at<std::uint8_t>(block.shared, block.plan().shared.scratch) + warp_index() * 32;
  }
};

/// A block that counts many rows adds its sums to the destinations' counts; one that counts few adds each.
__device__ __forceinline__ bool counts_in_block(const DispatchBlock& block) {
  return block.call().placement.num_experts <= kHistogramLimit && !block.plan().is_brief;
}

/// The rows of one group of tokens at one destination: consecutive.
struct GroupRows {
  RouteGroup group;
  std::int32_t first;  // row of the group's first token that goes there
  std::int32_t kept;   // of them below the capacity
};

__device__ __forceinline__ GroupRows rows_of_group(const DispatchBlock& block, int group, int destination) {
  const int num_ranks = block.num_ranks();
  GroupRows rows;
  rows.group = block.groups()[static_cast<std::size_t>(group) * num_ranks + destination];
  const Destination& target = block.destinations()[destination];
  rows.first = target.first + rows.group.before + block.rows_before_slice(group, destination);
  rows.kept = max(0, min(target.capacity - rows.first, __popc(rows.group.tokens)));
  return rows;
}

/// One warp. The i-th token of `tokens` (a bitmask) into scratch[i].
__device__ __forceinline__ void list_tokens(std::uint8_t* scratch, std::uint32_t tokens) {
  __syncwarp();
  const auto lane = static_cast<unsigned>(lane_index());
  if ((tokens >> lane & 1U) != 0) scratch[__popc(tokens & ((1U << lane) - 1U))] = static_cast<std::uint8_t>(lane);
  __syncwarp();
}

/// One warp: origins, local ids and weights of one group's rows at one destination, coalesced over rows and k. Loads go
/// ahead of stores, a few at a time.
__device__ inline void write_group(const MetadataTeam& team, int group, int destination) {
  const DispatchBlock& block = team.block;
  const DispatchLaunch& call = block.call();
  const Destination& target = block.destinations()[destination];
  const GroupRows rows = rows_of_group(block, group, destination);
  if (rows.kept == 0) return;
  const std::uint8_t* const listed = team.scratch();
  list_tokens(team.scratch(), rows.group.tokens);
  const int top_k = call.route.top_k;
  const int first_token = group * kTokensPerGroup;
  const int first_expert = __ldg(call.placement.first_expert + destination);
  const int num_local = __ldg(call.placement.first_expert + destination + 1) - first_expert;
  const std::int32_t* const experts = block.experts();
  const auto local_id = [&](int token, int k) {
    const int expert = experts[static_cast<std::size_t>(token) * top_k + k];
    const int local = expert - first_expert;
    return expert >= 0 && local >= 0 && local < num_local ? local : -1;
  };
  const bool counts_here = counts_in_block(block);
  const std::uint32_t inverse = (65536U + static_cast<std::uint32_t>(top_k) - 1U) / static_cast<std::uint32_t>(top_k);
  const std::size_t first_value = static_cast<std::size_t>(rows.first) * top_k;
  constexpr int kBatch = 4;
  const int num_values = rows.kept * top_k;
  for (int begin = lane_index(); begin < num_values; begin += 32 * kBatch) {
    int local[kBatch];
    float weight[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int index = begin + 32 * i;
      if (index >= num_values) break;
      const int row = static_cast<int>(static_cast<std::uint32_t>(index) * inverse >> 16);  // exact below 1024
      const int k = index - row * top_k;
      const int token = first_token + listed[row];
      local[i] = local_id(token, k);
      weight[i] = call.has_weights ? __ldg(call.weights + static_cast<std::size_t>(token) * top_k + k) : 0.0F;
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int index = begin + 32 * i;
      if (index >= num_values) break;
      target.ids[first_value + index] = local[i];
      if (call.has_weights) target.weights[first_value + index] = local[i] >= 0 ? weight[i] : 0.0F;
      if (local[i] < 0) continue;
      if (counts_here) {
        atomicAdd(block.histogram() + first_expert + local[i], 1);
      } else {
        device::add_relaxed_system(target.expert_counts + local[i], 1);
      }
    }
  }
  if (lane_index() < rows.kept) {
    const int token = first_token + listed[lane_index()];
    int k = 0;
    while (local_id(token, k) < 0) ++k;
    target.origins[rows.first + lane_index()] = static_cast<std::uint64_t>(static_cast<std::uint32_t>(token)) |
                                                static_cast<std::uint64_t>(block.rank()) << 32 |
                                                static_cast<std::uint64_t>(k) << 48;
  }
}

/// What one lane has of a piece of the tokens: one of a token's top_k entries.
struct Entry {
  int token;
  int k;
  bool exists;
  std::size_t index;  // in [tokens, top_k]
};

__device__ __forceinline__ int tokens_per_piece(const DispatchBlock& block) {
  return 32 / block.plan().lanes_per_token;
}
__device__ __forceinline__ int num_pieces(const DispatchBlock& block) {
  return (block.tokens + tokens_per_piece(block) - 1) / tokens_per_piece(block);
}
__device__ __forceinline__ Entry entry_of(const DispatchBlock& block, int piece) {
  const int lanes = block.plan().lanes_per_token;
  const int top_k = block.call().route.top_k;
  const int token = piece * tokens_per_piece(block) + lane_index() / lanes;
  const int k = lane_index() % lanes;
  return {token, k, token < block.tokens && k < top_k, static_cast<std::size_t>(token) * top_k + k};
}

/// The lanes of this lane's token in a piece: `bits`, counted from the token's first lane.
__device__ __forceinline__ std::uint32_t bits_of_token(const DispatchBlock& block, std::uint32_t bits) {
  const int lanes = block.plan().lanes_per_token;
  return bits >> (lane_index() / lanes * lanes) & (~0U >> (32 - lanes));
}

/// One warp: the transfers of a piece, in the order in which combine adds them, and its checked ids if only this
/// block's shared memory has them.
__device__ inline void write_transfers(const DispatchBlock& block, int piece) {
  const DispatchLaunch& call = block.call();
  const int num_ranks = block.num_ranks();
  const Entry entry = entry_of(block, piece);
  const int expert = entry.exists ? block.experts()[entry.index] : -1;
  if (block.plan().routes_alone && entry.exists) call.route.experts[entry.index] = expert;
  const int owner = expert >= 0 ? __ldg(call.placement.rank_of_expert + expert) : CudaPlacement::kNoRank;
  const std::uint32_t same =
      bits_of_token(block, __match_any_sync(~0U, lane_index() / block.plan().lanes_per_token << 8 | owner));
  const bool last = expert >= 0 && same >> entry.k == 1;  // the rank's highest k
  const std::uint32_t lasts = bits_of_token(block, __ballot_sync(~0U, static_cast<int>(last)));
  std::uint64_t ranks = last ? std::uint64_t{1} << owner : 0;
  for (int offset = 1; offset < block.plan().lanes_per_token; offset *= 2) {
    ranks |= __shfl_xor_sync(~0U, ranks, offset);
  }
  if (!entry.exists) return;
  const int slots = call.route.slots(num_ranks);
  CudaTransfer* const transfers = call.route.transfers + static_cast<std::size_t>(entry.token) * slots;
  if (last) {
    const int slot = call.order == ReductionOrder::highest_k ? __popc(lasts & ((1U << entry.k) - 1U))
                                                             : __popcll(ranks & ((std::uint64_t{1} << owner) - 1));
    const int group = entry.token / kTokensPerGroup;
    const Destination& target = block.destinations()[owner];
    std::int32_t row =
        target.first + block.relative_row(block.groups()[static_cast<std::size_t>(group) * num_ranks + owner],
                                          block.rows_before_slice(group, owner), entry.token);
    if (row >= target.capacity) {
      const bool left_out = call.overflow == OverflowPolicy::drop && target.exhausted == 0;
      row = left_out ? CudaTransfer::kNone : CudaTransfer::kLost;
    }
    transfers[slot] = {row, owner};
  }
  const int unused = __popc(lasts) + entry.k;
  if (unused < slots) transfers[unused] = {CudaTransfer::kNone, 0};  // there are fewer slots than entries, or as many
}

/// One warp: the weights of a piece's rows along a route that exists.
__device__ inline void write_routed_weights(const DispatchBlock& block, int piece) {
  const DispatchLaunch& call = block.call();
  const Entry entry = entry_of(block, piece);
  if (!entry.exists) return;
  const int expert = __ldg(call.route.experts + entry.index);
  const float weight = __ldg(call.weights + entry.index);
  const int slots = call.route.slots(block.num_ranks());
  const CudaTransfer* const transfers = call.route.transfers + static_cast<std::size_t>(entry.token) * slots;
  const int owner = expert >= 0 ? __ldg(call.placement.rank_of_expert + expert) : CudaPlacement::kNoRank;
  for (int slot = 0; slot < slots; ++slot) {
    const std::int32_t row = __ldg(&transfers[slot].row);
    const std::int32_t rank = __ldg(&transfers[slot].rank);
    if (row < 0) continue;
    const Destination& target = block.destinations()[rank];
    if (row >= target.capacity) continue;
    target.weights[static_cast<std::size_t>(row) * call.route.top_k + entry.k] = owner == rank ? weight : 0.0F;
  }
}

/// Threads [0, threads): `count` words of 32 bits from `first` on, wherever that is.
__device__ __noinline__ inline void fill_words(std::size_t thread, std::size_t threads, std::uint32_t* first,
                                               std::size_t count, std::uint32_t value) {
  const std::size_t head = min(count, (16 - reinterpret_cast<std::uintptr_t>(first) % 16) % 16 / 4);
  const std::size_t vectors = (count - head) / 4;
  for (std::size_t i = thread; i < head; i += threads) first[i] = value;
  auto* const body = reinterpret_cast<uint4*>(first + head);
  for (std::size_t i = thread; i < vectors; i += threads) body[i] = {value, value, value, value};
  for (std::size_t i = head + vectors * 4 + thread; i < count; i += threads) first[i] = value;
}

/// All metadata threads: this rank's rows from `num_rows` to its capacity. No sender writes there.
__device__ inline void fill_tail(const MetadataTeam& team, std::int32_t num_rows) {
  const DispatchBlock& block = team.block;
  const DispatchLaunch& call = block.call();
  const Destination& own = block.destinations()[block.rank()];
  if (num_rows >= own.capacity) return;
  const auto first = static_cast<std::size_t>(num_rows);
  const std::size_t count = static_cast<std::size_t>(own.capacity) - first;
  const auto top_k = static_cast<std::size_t>(call.route.top_k);
  const auto fill = [&](auto* pointer, std::size_t num_words, std::uint32_t value) {
    fill_words(team.thread(), team.all_threads(), reinterpret_cast<std::uint32_t*>(pointer), num_words, value);
  };
  if (block.makes_route()) {
    fill(own.origins + first, count * 2, ~0U);
    fill(own.ids + first * top_k, count * top_k, ~0U);
  }
  if (!block.sends_rows()) return;
  if (call.has_weights) fill(own.weights + first * top_k, count * top_k, 0);
  if (call.tail == Tail::untouched) return;
  const std::uint32_t value = call.tail == Tail::zero ? 0 : ~0U;
  const CudaRowShape& shape = block.plan().shape;
  fill(own.rows + first * shape.row_pitch, count * shape.row_pitch / 4, value);
  fill(own.scales + first * shape.scale_pitch, count * shape.scale_pitch / 4, value);
}

/// All metadata threads: what this block counted, to the destinations.
__device__ inline void flush_histogram(const MetadataTeam& team) {
  const DispatchBlock& block = team.block;
  const CudaPlacement& placement = block.call().placement;
  device::synchronize(device::NamedBarrier::counts, team.threads());
  const int first = static_cast<int>(threadIdx.x) - team.first_warp * 32;
  for (int expert = first; expert < placement.num_experts; expert += team.threads()) {
    const std::int32_t count = block.histogram()[expert];
    if (count == 0) continue;
    const int destination = placement.rank_of_expert[expert];
    device::add_relaxed_system(
        block.destinations()[destination].expert_counts + (expert - placement.first_expert[destination]), count);
  }
}

/// Role: metadata.
__device__ inline void write_metadata(const MetadataTeam& team, std::int32_t num_rows) {
  const DispatchBlock& block = team.block;
  const int num_ranks = block.num_ranks();
  const int pieces = num_pieces(block);
  if (block.makes_route()) {
    const int groups = (block.tokens + kTokensPerGroup - 1) / kTokensPerGroup * num_ranks;  // at the destinations
    for (int item = team.warp(); item < groups + pieces; item += team.all_warps()) {
      if (item >= groups) {
        write_transfers(block, item - groups);
      } else if (const int destination = (block.rank() + 1 + item) % num_ranks;
                 block.destinations()[destination].capacity > 0) {
        write_group(team, item / num_ranks, destination);
      }
    }
  } else if (block.call().has_weights) {
    for (int piece = team.warp(); piece < pieces; piece += team.all_warps()) write_routed_weights(block, piece);
  }
  fill_tail(team, num_rows);
  if (block.makes_route() && counts_in_block(block)) flush_histogram(team);
  // While senders are still busy: the fence before the signal then finds little left to wait for.
  if (!block.plan().is_brief) device::fence_acquire_release_system();
}

}  // namespace railyard::throughput
