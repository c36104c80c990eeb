// SPDX-License-Identifier: Apache-2.0
// Making the route inside the dispatch kernel. Each block routes one slice of the tokens; few tokens are one slice,
// which every block routes for itself:
//
//   ids -> checked experts (kept by the route) and, per 32 tokens and destination, a bitmask
//       -> prefix sums inside the slice -> every block: sums over all slices; block 0: counts to every rank
//
// A token's row is then: rows of lower source ranks + rows of earlier slices + prefix in the slice + popcount below it.
//
// A launch runs this code once, and fetches it first: loops that turn once or twice are not unrolled, here and in the
// other files that every operation passes once.
#pragma once

#include "device/named_barrier.cuh"
#include "throughput/cuda_dispatch_block.cuh"

#include <cstdint>

namespace railyard::throughput {

/// Checked expert ids of one token, and the ranks they are on.
struct RoutedToken {
  std::uint64_t ranks = 0;
  std::uint32_t invalid = 0;
  std::uint32_t first_invalid_k = 0;
};

template <class Id>
__device__ __forceinline__ RoutedToken route_token(const DispatchBlock& block, int token) {
  const DispatchLaunch& call = block.call();
  const int top_k = call.route.top_k;
  const auto num_experts = static_cast<Id>(call.placement.num_experts);
  const std::size_t first = static_cast<std::size_t>(token) * static_cast<std::size_t>(top_k);
  const Id* const ids = static_cast<const Id*>(call.ids) + first;
  std::int32_t* const experts = block.experts() + first;
  RoutedToken routed;
  constexpr int kBatch = 8;  // loads in flight
#pragma unroll 1
  for (int begin = 0; begin < top_k; begin += kBatch) {
    Id batch[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) batch[i] = begin + i < top_k ? __ldg(ids + begin + i) : Id{-1};
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (begin + i >= top_k) break;
      const Id id = batch[i];
      const bool valid = id >= 0 && id < num_experts;
      const int owner = valid ? __ldg(call.placement.rank_of_expert + id) : CudaPlacement::kNoRank;
      const bool goes = owner != CudaPlacement::kNoRank;
      experts[begin + i] = goes ? static_cast<std::int32_t>(id) : -1;
      if (goes) routed.ranks |= std::uint64_t{1} << owner;
      if (!valid && id != -1) {
        if (routed.invalid == 0) routed.first_invalid_k = static_cast<std::uint32_t>(begin + i);
        ++routed.invalid;
      }
    }
  }
  return routed;
}

/// The warps of a block that route: those between the senders, which meanwhile start their loads, and the clerk.
struct RouteTeam {
  int first_warp;

  [[nodiscard]] __device__ int warps() const { return kClerkWarp - first_warp; }
  [[nodiscard]] __device__ int warp() const { return warp_index() - first_warp; }
  [[nodiscard]] __device__ int thread() const { return warp() * 32 + lane_index(); }
  __device__ void synchronize() const { device::synchronize(device::NamedBarrier::route, warps() * 32); }
};

/// Bitmasks of `num_groups` groups from `first_group` into shared memory. Returns the warp's invalid ids.
__device__ inline InvalidIds mark_groups(const DispatchBlock& block, const RouteTeam& team, int first_group,
                                         int num_groups) {
  const DispatchLaunch& call = block.call();
  const int num_ranks = block.num_ranks();
  std::uint32_t* const masks = at<std::uint32_t>(block.shared, block.plan().shared.route_masks);
  InvalidIds invalid{0, kNoPosition};
#pragma unroll 1
  for (int index = team.warp(); index < num_groups; index += team.warps()) {
    const int token = (first_group + index) * kTokensPerGroup + lane_index();
    RoutedToken routed;
    if (token < block.tokens) {
      routed = call.ids_are_int64 ? route_token<long long>(block, token) : route_token<int>(block, token);
    }
#pragma unroll 1
    for (int destination = 0; destination < num_ranks; ++destination) {
      const std::uint32_t mask = __ballot_sync(~0U, static_cast<int>(routed.ranks >> destination & 1U));
      if (lane_index() == destination % 32) masks[index * num_ranks + destination] = mask;
    }
    if (!__any_sync(~0U, static_cast<int>(routed.invalid > 0))) continue;
    const std::uint32_t position = static_cast<std::uint32_t>(token) * static_cast<std::uint32_t>(call.route.top_k);
    invalid.count += __reduce_add_sync(~0U, routed.invalid);
    invalid.first_position =
        min(invalid.first_position,
            __reduce_min_sync(~0U, routed.invalid > 0 ? position + routed.first_invalid_k : kNoPosition));
  }
  return invalid;
}

/// One warp: of this lane and those below.
__device__ __forceinline__ std::int32_t inclusive_sum(std::int32_t value) {
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const std::int32_t below = __shfl_up_sync(~0U, value, offset);
    if (lane_index() >= offset) value += below;
  }
  return value;
}

/// Prefix sums of a batch of groups; one warp per destination. `totals`: rows of the batches before, and of this one.
__device__ inline void scan_groups(const DispatchBlock& block, const RouteTeam& team, int first_group, int num_groups,
                                   bool first_batch) {
  const int num_ranks = block.num_ranks();
  const std::uint32_t* const masks = at<std::uint32_t>(block.shared, block.plan().shared.route_masks);
  std::int32_t* const totals = at<std::int32_t>(block.shared, block.plan().shared.route_totals);
#pragma unroll 1
  for (int destination = team.warp(); destination < num_ranks; destination += team.warps()) {
    std::int32_t total = first_batch ? 0 : totals[destination];
#pragma unroll 1
    for (int begin = 0; begin < num_groups; begin += 32) {
      const int index = begin + lane_index();
      const std::uint32_t mask = index < num_groups ? masks[index * num_ranks + destination] : 0;
      const std::int32_t here = __popc(mask);
      const std::int32_t sum = inclusive_sum(here);
      if (index < num_groups) {
        block.groups()[static_cast<std::size_t>(first_group + index) * static_cast<std::size_t>(num_ranks) +
                       static_cast<std::size_t>(destination)] = {mask, total + sum - here};
      }
      total += __shfl_sync(~0U, sum, 31);
    }
    __syncwarp();
    if (lane_index() == 0) totals[destination] = total;
  }
}

/// What a source tells about its own input besides its counts: MailboxWord::invalid_ids and those behind it.
inline constexpr int kInputWords = static_cast<int>(MailboxWord::counts) - static_cast<int>(MailboxWord::invalid_ids);

/// One warp: the first three of these words: how many ids are invalid, and the first of them.
__device__ __forceinline__ void write_invalid_words(const DispatchBlock& block, std::uint32_t* words) {
  const DispatchLaunch& call = block.call();
  const int slices = block.plan().num_slices;
  std::uint32_t count = 0;            // of 2^24 tokens with 32 ids each at most
  std::uint32_t first = kNoPosition;  // positions grow with the slices
#pragma unroll 1
  for (int slice = lane_index(); slice < slices; slice += 32) {
    count += static_cast<std::uint32_t>(block.slices(block.num_ranks())[slice]);
    first = min(first, static_cast<std::uint32_t>(block.slices(block.num_ranks() + 1)[slice]));
  }
  count = __reduce_add_sync(~0U, count);
  first = __reduce_min_sync(~0U, first);
  if (lane_index() != 0) return;
  std::int64_t id = 0;
  if (count > 0) {
    id = call.ids_are_int64 ? static_cast<const std::int64_t*>(call.ids)[first]
                            : static_cast<const std::int32_t*>(call.ids)[first];
  }
  words[0] = count;
  words[1] = static_cast<std::uint32_t>(id);
  words[2] = static_cast<std::uint32_t>(id >> 32);
}

/// `threads` threads, behind a barrier with whoever found them: this rank's input words and counts, to every rank.
/// Relaxed and without a fence: nothing but the words is promised.
__device__ __forceinline__ void tell_ranks(const DispatchBlock& block, int thread, int threads,
                                           const std::uint32_t* invalid_words) {
  const int num_ranks = block.num_ranks();
  const std::int32_t* const totals = at<std::int32_t>(block.shared, block.plan().shared.route_totals);
  const int told = kInputWords + num_ranks;
#pragma unroll 1
  for (int index = thread; index < num_ranks * told; index += threads) {
    const int owner = (block.rank() + 1 + index / told) % num_ranks;
    const int word = index % told;
    if (!block.call().group.has(owner)) continue;
    std::uint32_t value = 0;
    if (word < 3) {
      value = invalid_words[word];
    } else if (word < kInputWords) {
      const DispatchLaunch& call = block.call();
      value = static_cast<std::uint32_t>(word == 3 ? tokens_said(call) : call.num_tokens);
    } else {
      value = static_cast<std::uint32_t>(totals[word - kInputWords]);
    }
    device::store_word(block.mailbox(owner, block.rank()) + static_cast<int>(MailboxWord::invalid_ids) + word,
                       block.tag(), value);
  }
}

/// The team. Routes this block's slice: its groups go to the workspace, then its words to all blocks. Where blocks
/// route alone, both go to shared memory, and block 0 tells the ranks at once.
__device__ inline void route_slice(const DispatchBlock& block, const RouteTeam& team) {
  __shared__ InvalidIds invalid[kWarps];
  __shared__ std::uint32_t invalid_words[3];
  const DispatchPlan& plan = block.plan();
  const int num_ranks = block.num_ranks();
  const int slice = plan.routes_alone ? 0 : static_cast<int>(blockIdx.x);
  const int begin = min(slice * plan.groups_per_slice, plan.groups);
  const int end = min(begin + plan.groups_per_slice, plan.groups);
  const int batch = kRouteBatchWords / num_ranks;
  const std::int32_t* const totals = at<std::int32_t>(block.shared, plan.shared.route_totals);
  if (!plan.is_brief) {  // then the table is on its way already
    const int table = min(block.call().placement.num_experts, kHistogramLimit);
#pragma unroll 1
    for (int byte = team.thread() * kPrefetchLine; byte < table; byte += team.warps() * 32 * kPrefetchLine) {
      device::prefetch(block.call().placement.rank_of_expert + byte);  // while the ids are under way
    }
  }
  InvalidIds found{0, kNoPosition};
#pragma unroll 1
  for (int first = begin; first < end || first == begin; first += batch) {
    const int count = min(batch, end - first);
    const InvalidIds here = mark_groups(block, team, first, count);
    found = {found.count + here.count, min(found.first_position, here.first_position)};
    if (lane_index() == 0) invalid[team.warp()] = found;
    team.synchronize();
    scan_groups(block, team, first, count, first == begin);
    team.synchronize();
  }
  if (!plan.routes_alone) device::writes_to_own_words();
#pragma unroll 1
  for (int word = team.thread(); word < num_ranks + kInvalidWords; word += team.warps() * 32) {
    std::uint32_t value = 0;
    if (word < num_ranks) {
      value = static_cast<std::uint32_t>(totals[word]);
    } else {
      InvalidIds all{0, kNoPosition};
#pragma unroll 1
      for (int warp = 0; warp < team.warps(); ++warp) {
        all = {all.count + invalid[warp].count, min(all.first_position, invalid[warp].first_position)};
      }
      value = word == num_ranks ? all.count : all.first_position;
    }
    if (plan.routes_alone) {
      block.slices(word)[0] = word < num_ranks ? 0 : static_cast<std::int32_t>(value);  // no earlier slices
    } else {
      device::store_word(block.slice_words(slice) + word, block.slice_tag(), value);  // pair: route.slice
    }
  }
  if (!plan.routes_alone || blockIdx.x != 0) return;
  team.synchronize();
  if (team.warp() == 0) write_invalid_words(block, invalid_words);
  team.synchronize();
  tell_ranks(block, team.thread(), team.warps() * 32, invalid_words);
}

/// One warp: running sums of one destination's rows over the slices, in place; returns the total.
__device__ __forceinline__ std::int32_t sum_slices(std::int32_t* rows, int slices) {
  std::int32_t total = 0;
#pragma unroll 1
  for (int begin = 0; begin < slices; begin += 32) {
    const int slice = begin + lane_index();
    const std::int32_t here = slice < slices ? rows[slice] : 0;
    const std::int32_t sum = inclusive_sum(here);
    if (slice < slices) rows[slice] = total + sum - here;
    total += __shfl_sync(~0U, sum, 31);
  }
  return total;
}

/// All threads: the first `words` words of every slice, into shared memory. False, in all threads, if the group has
/// failed.
__device__ inline bool wait_for_slices(const DispatchBlock& block, int words) {
  __shared__ int failures;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) failures = 0;
  __syncthreads();
#pragma unroll 1
  for (int index = kCudaThreads - 1 - thread; index < block.plan().num_slices * words; index += kCudaThreads) {
    const int slice = index / words;
    const int word = index % words;
    std::uint32_t value = 0;
    if (!device::wait_for_own_word(block.waits(), block.rank(), block.slice_words(slice) + word,  // pair: route.slice
                                   block.slice_tag(), value)) {
      atomicOr(&failures, 1);
      break;
    }
    block.slices(word)[slice] = static_cast<std::int32_t>(value);
  }
  __syncthreads();
  return failures == 0;
}

/// All threads: every slice's words, summed in shared memory. Then lookups are possible; block 0 tells the counts to
/// every rank. False, in all threads, if the group has failed.
__device__ inline bool join_slices(const DispatchBlock& block) {
  __shared__ std::uint32_t invalid_words[3];
  const int num_ranks = block.num_ranks();
  const int slices = block.plan().num_slices;
  const bool tells = blockIdx.x == 0;
  if (block.plan().routes_alone) return true;
  if (!wait_for_slices(block, num_ranks + (tells ? kInvalidWords : 0))) return false;
  std::int32_t* const totals = at<std::int32_t>(block.shared, block.plan().shared.route_totals);
#pragma unroll 1
  for (int destination = warp_index(); destination < num_ranks; destination += kWarps) {
    const std::int32_t total = sum_slices(block.slices(destination), slices);
    if (lane_index() == 0) totals[destination] = total;
  }
  if (tells && warp_index() == kClerkWarp) write_invalid_words(block, invalid_words);
  __syncthreads();
  if (tells) tell_ranks(block, static_cast<int>(threadIdx.x), kCudaThreads, invalid_words);
  return true;
}

}  // namespace railyard::throughput
