// SPDX-License-Identifier: Apache-2.0
// What an operation came to: counts after dropping and the status that all ranks share, by the rules of
// src/routing/resolve.cpp, from everyone's counts and grants.
#pragma once

#include "throughput/cuda_dispatch_block.cuh"
#include "throughput/cuda_left_waits.cuh"

#include <cstdint>

namespace railyard::throughput {

/// Rows that this rank receives: needed, and kept.
struct OwnRows {
  std::int32_t needed;
  std::int32_t kept;
};

__device__ __forceinline__ OwnRows own_rows(const DispatchBlock& block) {
  OwnRows rows{0, 0};
#pragma unroll 1
  for (int source = 0; source < block.num_ranks(); ++source) rows.needed += block.count(source, block.rank());
  rows.kept = min(rows.needed, block.destinations()[block.rank()].capacity);
  return rows;
}

/// The exhausted rank with the lowest number, and how much was lost to such ranks.
__device__ inline Status exhausted_status(const DispatchBlock& block, bool known_route) {
  Status status;
#pragma unroll 1
  for (int rank = 0; rank < block.num_ranks(); ++rank) {
    const Destination& destination = block.destinations()[rank];
    if (destination.exhausted == 0) continue;
    if (status.rank < 0) {
      status.code = ErrorCode::heap_exhausted;
      status.rank = rank;
      status.needed = static_cast<std::int64_t>(block.wide_word(rank, MailboxWord::wanted_low));
      status.capacity = static_cast<std::int64_t>(block.wide_word(rank, MailboxWord::free_low));
    }
    status.count +=
        known_route ? static_cast<std::int32_t>(block.word(rank, MailboxWord::rows_needed)) : destination.needed;
  }
  return status;
}

/// The lowest rank whose token count was outside its limits, and how many such ranks there are.
__device__ inline Status token_count_status(const DispatchBlock& block) {
  Status status;
#pragma unroll 1
  for (int rank = 0; rank < block.num_ranks(); ++rank) {
    const auto said = static_cast<std::int32_t>(block.word(rank, MailboxWord::tokens));
    const auto limit = static_cast<std::int32_t>(block.word(rank, MailboxWord::max_tokens));
    if (said >= 0 && said <= limit) continue;
    if (status.rank < 0) {
      status.code = ErrorCode::invalid_argument;
      status.rank = rank;
      status.needed = said;
      status.capacity = limit;
    }
    ++status.count;
  }
  return status;
}

__device__ inline Status invalid_status(const DispatchBlock& block) {
  Status status;
#pragma unroll 1
  for (int rank = 0; rank < block.num_ranks(); ++rank) {
    const std::uint32_t count = block.word(rank, MailboxWord::invalid_ids);
    if (count == 0) continue;
    if (status.rank < 0) {
      status.code = ErrorCode::invalid_id;
      status.rank = rank;
      status.needed = static_cast<std::int64_t>(block.wide_word(rank, MailboxWord::first_invalid_low));
      status.capacity = block.call().placement.num_experts;
    }
    status.count += count;
  }
  return status;
}

/// One thread, of block 0. The status of a new route, and the rows that policy `drop` left out in the whole group.
__device__ inline Status judge(const DispatchBlock& block, std::int64_t& num_dropped) {
  Status overflow;
  std::int64_t lost_to_capacity = 0;
#pragma unroll 1
  for (int rank = 0; rank < block.num_ranks(); ++rank) {
    const Destination& destination = block.destinations()[rank];
    const std::int64_t lost = max(0, destination.needed - destination.capacity);
    overflow.count += lost;
    if (destination.exhausted != 0) continue;
    lost_to_capacity += lost;
    if (lost == 0 || overflow.rank >= 0) continue;
    overflow.code = ErrorCode::capacity;
    overflow.rank = rank;
    overflow.needed = destination.needed;
    overflow.capacity = destination.capacity;
  }
  const bool drops = block.call().overflow == OverflowPolicy::drop;
  num_dropped = drops ? lost_to_capacity : 0;
  const Status exhausted = exhausted_status(block, false);
  if (exhausted.rank >= 0) return exhausted;
  if (overflow.rank >= 0 && !drops) return overflow;
  const Status tokens = token_count_status(block);
  return tokens.rank >= 0 ? tokens : invalid_status(block);
}

/// One warp of block 0. Everything that follows from the exchange, to both copies of the result.
template <bool kTimed>
__device__ __noinline__ void write_result(DispatchBlock block, std::int64_t entry_ns) {
  const DispatchLaunch& call = block.call();
  const int num_ranks = block.num_ranks();
  CudaDispatchResult* const copies[2] = {call.result, call.host_result};
  if (block.makes_route()) {
#pragma unroll 1
    for (int rank = lane_index(); rank < num_ranks; rank += 32) {
      Destination& destination = block.destinations()[rank];
      std::int32_t before = 0;  // rows of lower sources, here
#pragma unroll 1
      for (int source = 0; source < num_ranks; ++source) {
        destination.needed += block.count(source, rank);
        if (source < rank) before += block.count(source, block.rank());
      }
      const std::int32_t own_capacity = block.destinations()[block.rank()].capacity;
      const std::int32_t received = max(0, min(own_capacity - before, block.count(rank, block.rank())));
      const std::int32_t sent = max(0, min(destination.capacity - destination.first, block.count(block.rank(), rank)));
#pragma unroll 1
      for (CudaDispatchResult* copy : copies) {
        if (copy == nullptr) continue;
        copy->receive_counts[rank] = received;
        copy->send_counts[rank] = sent;
      }
    }
    __syncwarp();
  }
  if (lane_index() != 0) return;
  CudaDispatchResult result;
  result.num_tokens = block.tokens;
  result.epoch = block.epoch;
  result.entry_ns = entry_ns;
  const std::uint64_t now_ns = device::global_time_ns();
  result.exchanged_ns = static_cast<std::int64_t>(now_ns);
  if constexpr (kTimed) add_clock_rate(call.group, now_ns);
  if (block.makes_route()) {
    result.status = judge(block, result.num_dropped);
    result.num_rows = own_rows(block).kept;
    call.route.sizes[0] = block.tokens;
    call.route.sizes[1] = static_cast<std::int32_t>(result.num_rows);
  } else {
    result.status = exhausted_status(block, true);
  }
#pragma unroll 1
  for (CudaDispatchResult* copy : copies) {
    if (copy == nullptr) continue;
    copy->status = result.status;
    copy->num_tokens = result.num_tokens;
    copy->num_rows = result.num_rows;
    copy->num_dropped = result.num_dropped;
    copy->entry_ns = result.entry_ns;
    copy->exchanged_ns = result.exchanged_ns;
    copy->epoch = result.epoch;
    copy->wait_code = 0;
  }
}

/// One thread of block 0, when the group has failed.
__device__ __noinline__ inline void write_failure(DispatchBlock block) {
  CudaDispatchResult* const copies[2] = {block.call().result, block.call().host_result};
#pragma unroll 1
  for (CudaDispatchResult* copy : copies) {
    if (copy == nullptr) continue;
    copy->epoch = block.epoch;
    copy->wait_code = static_cast<std::uint32_t>(ErrorCode::suspended);
  }
}

}  // namespace railyard::throughput
