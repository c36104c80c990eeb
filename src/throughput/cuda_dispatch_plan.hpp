// SPDX-License-Identifier: Apache-2.0
// How one dispatch launch divides its work and its shared memory: computed by the host, read by the kernel.
#pragma once

#include "throughput/cuda_launch.hpp"
#include "throughput/cuda_quotient.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

inline constexpr int kWarps = kCudaThreads / 32;
inline constexpr int kClerkWarp = kWarps - 1;  // grants and results: few words that take long
inline constexpr int kTokensPerGroup = 32;
inline constexpr int kHistogramLimit = 4096;  // experts counted in shared memory; more are counted in place
inline constexpr int kMaxSlices = 32;         // blocks that route; more would wait longer for each other than they save
inline constexpr int kRouteBatchWords = 1024;  // (group, destination) bitmasks that a block routes at a time
inline constexpr int kPrefetchLine = 128;      // bytes
inline constexpr int kMinStages = 3;           // of a ring whose rows are copied
inline constexpr int kMaxStages = 8;           // of any ring of a sender
inline constexpr int kAloneGroups = 8;         // of tokens, and
inline constexpr int kAloneIds = 2048;         // of their ids, that every block routes for itself
inline constexpr std::size_t kSharedLimit = 232448 - 1024;  // dynamic shared memory of a block on sm_90, less static

/// One (group of 32 tokens, destination): who goes there, and how many of the slice's earlier tokens do.
struct RouteGroup {
  std::uint32_t tokens;
  std::int32_t before;
};

/// What a block found out about its slice of the tokens.
struct InvalidIds {
  std::uint32_t count;
  std::uint32_t first_position;  // token * top_k + k, or kNoPosition
};
inline constexpr std::uint32_t kNoPosition = ~0U;
inline constexpr int kInvalidWords = 2;

/// DispatchLaunch::workspace. A slice is the run of groups that one block routes. Its words tell the other blocks: rows
/// per rank, then InvalidIds, each with a tag of the epoch in its upper half, odd so that cleared memory has none.
struct DispatchWorkspace {
  std::size_t words = 0;   // offsets: 64 bits [kMaxSlices, ranks + kInvalidWords]; at the same place in every launch
  std::size_t groups = 0;  // RouteGroup [groups, ranks]
  std::size_t bytes = 0;

  [[nodiscard]] static constexpr DispatchWorkspace of(int max_tokens, int num_ranks) {
    const auto ranks = static_cast<std::size_t>(num_ranks);
    const std::size_t groups = (static_cast<std::size_t>(max_tokens) + kTokensPerGroup - 1) / kTokensPerGroup;
    DispatchWorkspace layout;
    layout.groups = round_up_bytes(kMaxSlices * (ranks + kInvalidWords) * sizeof(std::uint64_t), 128);
    layout.bytes = layout.groups + round_up_bytes(groups * ranks * sizeof(RouteGroup), 128);
    return layout;
  }
};

/// What the kernel knows about one destination after the exchange.
struct Destination {
  std::byte* rows;
  std::byte* scales;
  float* weights;
  std::uint64_t* origins;
  std::int32_t* ids;
  std::int32_t* expert_counts;
  std::int32_t capacity;  // rows at or beyond are not written
  std::int32_t first;     // row of this source's first token there
  std::uint32_t exhausted;
  std::int32_t needed;  // rows of all sources
};

/// Offsets into a block's dynamic shared memory.
struct DispatchShared {
  std::uint32_t stages = 0;        // [senders, stages] stage_bytes
  std::uint32_t barriers = 0;      // [senders, stages] mbarriers
  std::uint32_t items = 0;         // [senders, stages] int32
  std::uint32_t targets = 0;       // [senders, stages, lookups] CudaTransfer: where the stage's row goes
  std::uint32_t destinations = 0;  // [ranks] Destination
  std::uint32_t words = 0;         // [ranks, words] uint32: what the mailboxes said
  std::uint32_t histogram = 0;     // [experts] int32
  std::uint32_t route_masks = 0;   // [kRouteBatchWords] uint32
  std::uint32_t route_totals = 0;  // [ranks] int32
  std::uint32_t groups = 0;        // [groups, ranks] RouteGroup, and
  std::uint32_t experts = 0;       // [groups * kTokensPerGroup, top_k] int32 checked ids, where blocks route alone
  std::uint32_t slices = 0;        // [ranks + kInvalidWords, slices] int32: rows, then rows of all earlier slices
  std::uint32_t scratch = 0;       // [warps, 32] bytes
  std::uint32_t bytes = 0;
};

struct DispatchPlan {
  int num_senders = 0;        // warps that move rows; the others but the clerk write metadata
  int num_stages = 0;         // of a sender's ring
  int num_lookups = 0;        // of an item: every rank, or every slot of a known route
  int num_segments = 1;       // pieces that a row travels in
  Quotient by_segments;       // items / num_segments
  int num_words = 0;          // of a mailbox that this operation uses
  int groups = 0;             // of tokens
  int lanes_per_token = 1;    // a power of two, at least top_k
  bool routes_alone = false;  // so few tokens that each block routes them all, rather than wait for other blocks
  bool is_brief = false;      // at most one (group, destination) per block: so few tokens that latencies count
  int num_slices = 1;         // the first blocks route one each
  int groups_per_slice = 0;
  Quotient by_slice_groups;  // groups / groups_per_slice
  bool bulk_rows = false;    // the caller's rows can be read by bulk copies
  bool bulk_scales = false;
  std::uint32_t input_segment = 0;  // bytes of a caller's row in a full segment
  std::uint32_t wire_segment = 0;   // the same on the wire
  std::uint32_t scale_segment = 0;  // bytes of wire scales in a full segment
  std::uint32_t stage_bytes = 0;    // of one ring stage; quantising: input and output buffer
  std::uint32_t output_offset = 0;  // of the wire row in a stage; 0 when copying
  std::uint32_t scale_offset = 0;   // of the wire scales in a stage
  CudaRowShape shape;
  DispatchShared shared;
  DispatchWorkspace workspace;

  /// Throws railyard::Error unless the launch can be planned.
  [[nodiscard]] static DispatchPlan of(const DispatchLaunch& launch);
};

/// The kernel's only parameter.
struct DispatchParams {
  DispatchLaunch call;
  DispatchPlan plan;
};
static_assert(sizeof(DispatchParams) <= 4096, "kernel parameters hold 4096 bytes");

}  // namespace railyard::throughput
