// SPDX-License-Identifier: Apache-2.0
// What all roles of a dispatch block share: the launch's parameters, the operation's epoch, and shared memory by name.
#pragma once

#include "device/chains.cuh"
#include "throughput/cuda_dispatch_plan.hpp"
#include "throughput/cuda_mailbox.cuh"

#include <railyard/route.hpp>

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

/// The token count of the call, or of the route, as whoever wrote it left it.
__device__ __forceinline__ std::int32_t tokens_said(const DispatchLaunch& call) {
  const std::int32_t* const count =
      call.operation == CudaOperation::routed_dispatch ? call.route.sizes : call.device_num_tokens;
  return count == nullptr ? call.num_tokens : *count;
}

struct DispatchBlock {
  const DispatchParams& p;
  std::byte* shared;
  CudaKindState& state;
  std::uint64_t epoch;
  std::uint32_t slot;
  int tokens;

  [[nodiscard]] __device__ const DispatchLaunch& call() const { return p.call; }
  [[nodiscard]] __device__ const DispatchPlan& plan() const { return p.plan; }
  [[nodiscard]] __device__ int rank() const { return p.call.group.rank; }
  [[nodiscard]] __device__ int num_ranks() const { return p.call.group.num_ranks; }
  [[nodiscard]] __device__ std::uint32_t tag() const { return static_cast<std::uint32_t>(epoch); }
  [[nodiscard]] __device__ bool makes_route() const { return p.call.operation != CudaOperation::routed_dispatch; }
  [[nodiscard]] __device__ bool sends_rows() const { return p.plan.num_senders > 0; }
  [[nodiscard]] __device__ device::WaitScope waits() const {
    const CudaGroup& group = p.call.group;
    return {&group.state->wait_state, group.host_control, group.report, p.call.operation, epoch};
  }

  /// The mailbox that `source` writes at `owner` for this operation.
  [[nodiscard]] __device__ std::uint64_t* mailbox(int owner, int source) const {
    return mailbox_at(p.call.group, CudaKind::dispatch, slot, owner, source);
  }
  /// The signal of `source`'s rows at `owner`.
  [[nodiscard]] __device__ std::uint64_t* arrived(int owner, int source) const {
    const CudaGroup& group = p.call.group;
    return at<std::uint64_t>(group.heaps[owner], group.control_offset + group.control.arrived_signal(source));
  }

  [[nodiscard]] __device__ Destination* destinations() const {
    return at<Destination>(shared, p.plan.shared.destinations);
  }
  [[nodiscard]] __device__ std::uint32_t& word(int source, int index) const {
    return at<std::uint32_t>(shared, p.plan.shared.words)[source * p.plan.num_words + index];
  }
  [[nodiscard]] __device__ std::uint32_t word(int source, MailboxWord index) const {
    return word(source, static_cast<int>(index));
  }
  [[nodiscard]] __device__ std::uint64_t wide_word(int source, MailboxWord low) const {
    return static_cast<std::uint64_t>(word(source, static_cast<int>(low) + 1)) << 32 | word(source, low);
  }
  /// Rows that `source` sends to `destination`, before dropping.
  [[nodiscard]] __device__ std::int32_t count(int source, int destination) const {
    return static_cast<std::int32_t>(word(source, static_cast<int>(MailboxWord::counts) + destination));
  }
  [[nodiscard]] __device__ std::int32_t* histogram() const { return at<std::int32_t>(shared, p.plan.shared.histogram); }

  [[nodiscard]] __device__ RouteGroup* groups() const {
    if (p.plan.routes_alone) return at<RouteGroup>(shared, p.plan.shared.groups);
    return at<RouteGroup>(static_cast<std::byte*>(p.call.workspace), p.plan.workspace.groups);
  }
  /// Checked ids of the route that is made, [tokens, top_k].
  [[nodiscard]] __device__ std::int32_t* experts() const {
    return p.plan.routes_alone ? at<std::int32_t>(shared, p.plan.shared.experts) : p.call.route.experts;
  }
  /// What a slice's block tells the others, see DispatchWorkspace.
  [[nodiscard]] __device__ std::uint64_t* slice_words(int slice) const {
    return at<std::uint64_t>(static_cast<std::byte*>(p.call.workspace), p.plan.workspace.words) +
           static_cast<std::size_t>(slice) * static_cast<std::size_t>(num_ranks() + kInvalidWords);
  }
  [[nodiscard]] __device__ std::uint32_t slice_tag() const { return tag() * 2 + 1; }
  /// One row of the shared copy of these words: [slices] of one destination, or of one of InvalidIds' fields.
  [[nodiscard]] __device__ std::int32_t* slices(int index) const {
    return at<std::int32_t>(shared, p.plan.shared.slices) + index * p.plan.num_slices;
  }

  /// The slice that a group of tokens belongs to.
  [[nodiscard]] __device__ int slice_of(int group) const {
    return static_cast<int>(p.plan.by_slice_groups.of(static_cast<std::uint32_t>(group)));
  }
  /// Rows of all earlier slices at `destination`.
  [[nodiscard]] __device__ std::int32_t rows_before_slice(int group, int destination) const {
    return slices(destination)[slice_of(group)];
  }
  /// The token's row at a destination, counted from this source's first; -1 if it does not go there.
  [[nodiscard]] __device__ static std::int32_t relative_row(const RouteGroup& group, std::int32_t before_slice,
                                                            int token) {
    const unsigned bit = static_cast<unsigned>(token) % kTokensPerGroup;
    if ((group.tokens >> bit & 1U) == 0) return -1;
    return before_slice + group.before + __popc(group.tokens & ((1U << bit) - 1U));
  }
};

}  // namespace railyard::throughput
