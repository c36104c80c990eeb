// SPDX-License-Identifier: Apache-2.0
// The start of a dispatch: this rank's grant to all, everyone's grants and counts to this block.
#pragma once

#include "throughput/cuda_dispatch_block.cuh"
#include "throughput/cuda_mailbox.cuh"

#include <cstdint>

namespace railyard::throughput {

/// One warp of one block. The expert counts of the granted block are cleared first: peers add to them once they know of
/// the grant.
__device__ inline void publish_grant(const DispatchBlock& block) {
  const DispatchLaunch& call = block.call();
  const CudaGrant& grant = call.grant;
  if (block.makes_route() && grant.code == ErrorCode::ok) {
    auto* const counts = at<std::int32_t>(call.group.heaps[block.rank()], grant.metadata_offset);
#pragma unroll 1
    for (int expert = lane_index(); expert < call.placement.max_local_experts; expert += 32) counts[expert] = 0;
  }
  __syncwarp();
  publish_grant_words(call.group, CudaKind::dispatch, block.slot, block.tag(), [&](MailboxWord word) -> std::uint64_t {
    switch (word) {
      case MailboxWord::descriptor:
        return call.descriptor;
      case MailboxWord::code:
        return static_cast<std::uint64_t>(grant.code);
      case MailboxWord::capacity:
        return static_cast<std::uint64_t>(grant.capacity);
      case MailboxWord::payload_low:
        return grant.payload_offset;
      case MailboxWord::payload_high:
        return grant.payload_offset >> 32;
      case MailboxWord::metadata_low:
        return grant.metadata_offset;
      case MailboxWord::metadata_high:
        return grant.metadata_offset >> 32;
      case MailboxWord::wanted_low:
        return grant.wanted_bytes;
      case MailboxWord::wanted_high:
        return grant.wanted_bytes >> 32;
      case MailboxWord::free_low:
        return grant.free_bytes;
      case MailboxWord::free_high:
        return grant.free_bytes >> 32;
      case MailboxWord::rows_needed:
        return static_cast<std::uint64_t>(grant.rows_needed);
      default:
        return 0;
    }
  });
}

/// All threads. Waits for the words that this block needs, into shared memory; block 0 needs them all, for the verdict.
/// False, in all threads, if the group has failed. Then `block.destinations()` say nothing. `meanwhile()`: what senders
/// do while the words are under way.
template <bool kTimed, class Meanwhile>
__device__ __forceinline__ bool wait_for_exchange(const DispatchBlock& block, Meanwhile meanwhile) {
  const int rank = block.rank();
  constexpr int kCounts = static_cast<int>(MailboxWord::counts);
  return wait_for_words<kTimed>(
      block.waits(), block.call().group, CudaKind::dispatch, block.slot, block.plan().num_words,
      block.call().descriptor, at<std::uint32_t>(block.shared, block.plan().shared.words),
      [&](int source, int word) {
        return blockIdx.x == 0 || word < kGrantWords || word == kCounts + rank || (word >= kCounts && source < rank);
      },
      meanwhile);
}

/// All threads, after wait_for_exchange. Ends with everything in place for bulk and generic writes to peers (chain 7).
__device__ inline void find_destinations(const DispatchBlock& block) {
  const DispatchLaunch& call = block.call();
  const DispatchPlan& plan = block.plan();
  const int destination = static_cast<int>(threadIdx.x);
  if (destination < block.num_ranks()) {
    Destination found;
    found.capacity = static_cast<std::int32_t>(block.word(destination, MailboxWord::capacity));
    found.exhausted =
        block.word(destination, MailboxWord::code) == static_cast<std::uint32_t>(ErrorCode::heap_exhausted);
    found.first = 0;
    if (block.makes_route()) {
#pragma unroll 1
      for (int source = 0; source < block.rank(); ++source) found.first += block.count(source, destination);
    }
    std::byte* const heap = call.group.heaps[destination];
    std::byte* const payload = heap + block.wide_word(destination, MailboxWord::payload_low);
    std::byte* const metadata = heap + block.wide_word(destination, MailboxWord::metadata_low);
    const auto payload_layout =
        CudaPayloadLayout::of(found.capacity, plan.shape, call.has_weights ? call.route.top_k : 0);
    const auto metadata_layout =
        CudaMetadataLayout::of(found.capacity, call.route.top_k, call.placement.max_local_experts);
    found.rows = payload + payload_layout.rows;
    found.scales = payload + payload_layout.scales;
    found.weights = at<float>(payload, payload_layout.weights);
    found.expert_counts = at<std::int32_t>(metadata, metadata_layout.expert_counts);
    found.origins = at<std::uint64_t>(metadata, metadata_layout.origins);
    found.ids = at<std::int32_t>(metadata, metadata_layout.ids);
    found.needed = 0;
    block.destinations()[destination] = found;
  }
  device::peer_grants_to_bulk_writes();
}

}  // namespace railyard::throughput
