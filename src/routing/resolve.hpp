// SPDX-License-Identifier: Apache-2.0
// From everyone's counts and grants to rows: placement is a pure function of them and of this rank's entries.
#pragma once

#include "routing/route_state.hpp"

#include <railyard/placement.hpp>
#include <railyard/types.hpp>

#include <cstdint>
#include <vector>

namespace railyard::routing {

/// What one rank published.
struct SourceCounts {
  const std::int32_t* counts = nullptr;  // entries per expert [experts], rows per rank [ranks]
  std::int64_t capacity = 0;             // granted rows, per expert in expert_slots
  bool heap_exhausted = false;           // then capacity is 0
  std::uint64_t wanted_bytes = 0;
  std::uint64_t free_bytes = 0;
  std::int64_t invalid_ids = 0;
  std::int64_t first_invalid_id = 0;
};

/// The group's side of it.
struct ResolveRules {
  const Placement* placement = nullptr;
  int rank = 0;
  OverflowPolicy overflow = OverflowPolicy::error;
  ReductionLevels levels = ReductionLevels::rank;
  ReductionOrder order = ReductionOrder::rank_ascending;
};

/// Computes the rows of this rank's entries, its receive side, and the status that all ranks share, into a state whose
/// layout, alignment and entries are set. Reuses its memory from call to call.
class Resolver {
 public:
  /// `sources` [ranks]. The receive side's expert counts are those before dropping when
  /// `needs_recount()` says so: rank_major rows were lost here, and only the delivered ids tell whose they were.
  void resolve(const ResolveRules& rules, const std::vector<SourceCounts>& sources, RouteState& state);
  [[nodiscard]] bool needs_recount() const noexcept { return needs_recount_; }

 private:
  void sum_counts(const ResolveRules& rules, const std::vector<SourceCounts>& sources);
  void place_groups(const ResolveRules& rules, const std::vector<SourceCounts>& sources, const RouteState& state);
  void judge(const ResolveRules& rules, const std::vector<SourceCounts>& sources, RouteState& state);
  void fill_receive_side(const ResolveRules& rules, const std::vector<SourceCounts>& sources, RouteState& state);
  void fill_send_side(const ResolveRules& rules, const std::vector<SourceCounts>& sources, RouteState& state);
  void place_token_by_rank(const ResolveRules& rules, std::span<const std::int32_t> targets, std::int64_t token,
                           const RouteState& state);
  void place_token_by_expert(const ResolveRules& rules, std::span<const std::int32_t> targets);
  void sort_candidates();

  // One row of the token being placed, with the key that orders it.
  struct Candidate {
    std::int32_t row;
    std::int16_t rank;
    std::int16_t k;
    std::int32_t key;
    bool fits;
  };

  // The last token that had an entry on a rank, and its candidate there.
  struct RankOfToken {
    std::int64_t token = -1;
    std::size_t candidate = 0;
  };

  std::vector<std::int64_t> totals_;    // [experts + ranks] over all sources
  std::vector<std::int64_t> before_;    // [experts + ranks] over the sources below this rank
  std::vector<std::int64_t> next_row_;  // [experts] (expert layouts) or [ranks]: the next row of this rank's entries
  std::vector<std::int64_t> end_row_;   // the same: rows at or beyond are lost
  std::vector<std::int64_t> starts_;    // [experts] first row of each group at its rank, unclipped
  std::vector<std::int64_t> needed_;    // [ranks] rows with padding
  std::vector<std::int32_t> last_k_;    // [ranks] scratch
  std::vector<RankOfToken> rank_of_token_;  // [ranks] scratch
  std::vector<Candidate> candidates_;
  bool needs_recount_ = false;
};

}  // namespace railyard::routing
