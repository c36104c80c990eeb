// SPDX-License-Identifier: Apache-2.0
#include "routing/resolve.hpp"

#include <algorithm>

namespace railyard::routing {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// How many of `count` consecutive rows from `start` lie below `end`.
std::int64_t rows_below(std::int64_t start, std::int64_t count, std::int64_t end) {
  return std::clamp<std::int64_t>(end - start, 0, count);
}

}  // namespace

void Resolver::resolve(const ResolveRules& rules, const std::vector<SourceCounts>& sources, RouteState& state) {
  state.capacities.resize(sources.size());
  for (std::size_t rank = 0; rank < sources.size(); ++rank) state.capacities[rank] = sources[rank].capacity;
  state.own_capacity = state.capacities[static_cast<std::size_t>(rules.rank)];
  sum_counts(rules, sources);
  place_groups(rules, sources, state);
  judge(rules, sources, state);
  fill_receive_side(rules, sources, state);
  fill_send_side(rules, sources, state);
}

void Resolver::sum_counts(const ResolveRules& rules, const std::vector<SourceCounts>& sources) {
  const std::size_t num_counts =
      static_cast<std::size_t>(std::int64_t{rules.placement->num_experts()} + rules.placement->num_ranks());
  totals_.assign(num_counts, 0);
  before_.assign(num_counts, 0);
  for (std::size_t source = 0; source < sources.size(); ++source) {
    const std::int32_t* const counts = sources[source].counts;
    if (source == static_cast<std::size_t>(rules.rank)) before_ = totals_;
    for (std::size_t index = 0; index < num_counts; ++index) totals_[index] += counts[index];
  }
}

void Resolver::place_groups(const ResolveRules& rules, const std::vector<SourceCounts>& sources,
                            const RouteState& state) {
  const Placement& placement = *rules.placement;
  const auto num_experts = static_cast<std::size_t>(placement.num_experts());
  needed_.assign(sources.size(), 0);
  starts_.assign(num_experts, 0);
  if (state.layout == Layout::rank_major) {
    next_row_.assign(before_.begin() + placement.num_experts(), before_.end());
    end_row_ = state.capacities;
    std::copy(totals_.begin() + placement.num_experts(), totals_.end(), needed_.begin());
    return;
  }
  next_row_.resize(num_experts);
  end_row_.resize(num_experts);
  for (std::size_t rank = 0; rank < sources.size(); ++rank) {
    const std::int64_t capacity = state.capacities[rank];
    const int first = placement.first_expert(static_cast<int>(rank));
    std::int64_t start = 0;
    for (int local = 0; local < placement.local_experts(static_cast<int>(rank)); ++local) {
      const auto expert = static_cast<std::size_t>(std::int64_t{first} + local);
      if (state.layout == Layout::expert_slots) start = local * capacity;
      starts_[expert] = start;
      next_row_[expert] = start + before_[expert];
      end_row_[expert] = state.layout == Layout::expert_slots ? start + capacity : capacity;
      start = round_up(start + totals_[expert], state.alignment);
    }
    needed_[rank] = start;
  }
}

void Resolver::judge(const ResolveRules& rules, const std::vector<SourceCounts>& sources, RouteState& state) {
  const Placement& placement = *rules.placement;
  Status exhausted{.code = ErrorCode::heap_exhausted};
  Status overflow{.code = ErrorCode::capacity};
  Status invalid{.code = ErrorCode::invalid_id};
  for (int rank = 0; rank < placement.num_ranks(); ++rank) {
    const SourceCounts& source = sources[static_cast<std::size_t>(rank)];
    const int first = placement.first_expert(rank);
    std::int64_t lost = 0;
    int full_expert = -1;
    if (state.layout == Layout::rank_major) {
      const std::int64_t needed = needed_[static_cast<std::size_t>(rank)];
      lost = needed - rows_below(0, needed, source.capacity);
    } else {
      for (int local = 0; local < placement.local_experts(rank); ++local) {
        const auto expert = static_cast<std::size_t>(std::int64_t{first} + local);
        const std::int64_t over = totals_[expert] - rows_below(starts_[expert], totals_[expert], end_row_[expert]);
        if (over > 0 && full_expert < 0) full_expert = local;
        lost += over;
      }
    }
    if (source.invalid_ids > 0) {
      if (invalid.rank < 0) {
        invalid.rank = rank;
        invalid.needed = source.first_invalid_id;
        invalid.capacity = placement.num_experts();
      }
      invalid.count += source.invalid_ids;
    }
    if (source.heap_exhausted) {
      if (exhausted.rank < 0) {
        exhausted.rank = rank;
        exhausted.needed = static_cast<std::int64_t>(source.wanted_bytes);
        exhausted.capacity = static_cast<std::int64_t>(source.free_bytes);
      }
      exhausted.count += lost;
      overflow.count += lost;
      continue;
    }
    overflow.count += lost;
    const bool overflows = state.layout == Layout::expert_slots
                               ? full_expert >= 0
                               : needed_[static_cast<std::size_t>(rank)] > source.capacity;
    if (overflows && overflow.rank < 0) {
      overflow.rank = rank;
      overflow.capacity = source.capacity;
      if (state.layout == Layout::expert_slots) {
        overflow.expert = full_expert;
        overflow.needed = totals_[static_cast<std::size_t>(std::int64_t{first} + full_expert)];
      } else {
        overflow.needed = needed_[static_cast<std::size_t>(rank)];
      }
    }
  }
  state.num_dropped = rules.overflow == OverflowPolicy::drop ? overflow.count - exhausted.count : 0;
  if (exhausted.rank >= 0) {
    state.status = exhausted;
  } else if (overflow.rank >= 0 && rules.overflow == OverflowPolicy::error) {
    state.status = overflow;
  } else if (invalid.rank >= 0) {
    state.status = invalid;
  } else {
    state.status = {};
  }
}

void Resolver::fill_receive_side(const ResolveRules& rules, const std::vector<SourceCounts>& sources,
                                 RouteState& state) {
  const Placement& placement = *rules.placement;
  const auto rank = static_cast<std::size_t>(rules.rank);
  const int first = placement.first_expert(rules.rank);
  const auto num_local = static_cast<std::size_t>(placement.local_experts(rules.rank));
  const std::int64_t capacity = state.own_capacity;
  state.receive_counts.assign(sources.size(), 0);
  state.tokens_from.resize(sources.size());
  for (std::size_t source = 0; source < sources.size(); ++source) {
    state.tokens_from[source] = sources[source].counts[static_cast<std::size_t>(placement.num_experts()) + rank];
  }
  state.expert_counts.assign(num_local, 0);
  state.expert_offsets.assign(num_local + 1, 0);
  needs_recount_ = false;

  if (state.layout == Layout::rank_major) {
    std::int64_t row = 0;
    for (std::size_t source = 0; source < sources.size(); ++source) {
      const std::int32_t count = state.tokens_from[source];
      state.receive_counts[source] = static_cast<std::int32_t>(rows_below(row, count, capacity));
      row += count;
    }
    for (std::size_t local = 0; local < num_local; ++local) {
      state.expert_counts[local] = static_cast<std::int32_t>(totals_[static_cast<std::size_t>(first) + local]);
    }
    needs_recount_ = row > capacity && !state.from_mask();
  } else {
    for (std::size_t local = 0; local < num_local; ++local) {
      const auto expert = static_cast<std::size_t>(first) + local;
      std::int64_t row = starts_[expert];
      state.expert_offsets[local] = static_cast<std::int32_t>(std::min(row, end_row_[expert]));
      state.expert_counts[local] = static_cast<std::int32_t>(rows_below(row, totals_[expert], end_row_[expert]));
      for (std::size_t source = 0; source < sources.size(); ++source) {
        const std::int32_t count = sources[source].counts[expert];
        state.receive_counts[source] += static_cast<std::int32_t>(rows_below(row, count, end_row_[expert]));
        row += count;
      }
    }
    const std::int64_t end = state.layout == Layout::expert_slots ? capacity * static_cast<std::int64_t>(num_local)
                                                                  : std::min(needed_[rank], capacity);
    state.expert_offsets[num_local] = static_cast<std::int32_t>(end);
  }
  state.num_rows = 0;
  for (const std::int32_t count : state.receive_counts) state.num_rows += count;
}

void Resolver::fill_send_side(const ResolveRules& rules, const std::vector<SourceCounts>& sources, RouteState& state) {
  const Entries& entries = state.entries;
  state.send_counts.assign(sources.size(), 0);
  state.first_transfer.resize(static_cast<std::size_t>(entries.num_tokens) + 1);
  state.transfers.clear();
  last_k_.assign(sources.size(), -1);
  rank_of_token_.assign(sources.size(), {});
  for (std::int64_t token = 0; token < entries.num_tokens; ++token) {
    state.first_transfer[static_cast<std::size_t>(token)] = static_cast<std::int64_t>(state.transfers.size());
    candidates_.clear();
    if (state.layout == Layout::rank_major) {
      place_token_by_rank(rules, entries.of_token(token), token, state);
    } else {
      place_token_by_expert(rules, entries.of_token(token));
    }
    for (const Candidate& candidate : candidates_) {
      const auto rank = static_cast<std::size_t>(candidate.rank);
      if (candidate.fits) {
        ++state.send_counts[rank];
        state.transfers.push_back({candidate.row, candidate.rank, candidate.k});
      } else if (rules.overflow == OverflowPolicy::error || sources[rank].heap_exhausted) {
        state.transfers.push_back({kLostRow, candidate.rank, candidate.k});
      }
    }
  }
  state.first_transfer[static_cast<std::size_t>(entries.num_tokens)] =
      static_cast<std::int64_t>(state.transfers.size());
}

void Resolver::place_token_by_rank(const ResolveRules& rules, std::span<const std::int32_t> targets, std::int64_t token,
                                   const RouteState& state) {
  for (std::size_t k = 0; k < targets.size(); ++k) {
    if (targets[k] < 0) continue;
    const std::int32_t rank = state.from_mask() ? targets[k] : rules.placement->rank_of(targets[k]);
    const auto index = static_cast<std::size_t>(rank);
    RankOfToken& known = rank_of_token_[index];
    if (known.token != token) {
      known = {token, candidates_.size()};
      const std::int64_t row = next_row_[index]++;
      candidates_.push_back({static_cast<std::int32_t>(row), static_cast<std::int16_t>(rank),
                             static_cast<std::int16_t>(k), rank, row < end_row_[index]});
    }
    if (rules.order == ReductionOrder::highest_k) candidates_[known.candidate].key = static_cast<std::int32_t>(k);
  }
  sort_candidates();
}

void Resolver::place_token_by_expert(const ResolveRules& rules, std::span<const std::int32_t> targets) {
  constexpr std::int32_t kMaxTopK = 32;
  for (std::size_t k = 0; k < targets.size(); ++k) {
    if (targets[k] < 0) continue;
    const auto expert = static_cast<std::size_t>(targets[k]);
    const std::int32_t rank = rules.placement->rank_of(targets[k]);
    const std::int64_t row = next_row_[expert]++;
    const bool fits = row < end_row_[expert];
    candidates_.push_back(
        {static_cast<std::int32_t>(row), static_cast<std::int16_t>(rank), static_cast<std::int16_t>(k), rank, fits});
    if (fits) last_k_[static_cast<std::size_t>(rank)] = static_cast<std::int32_t>(k);
  }
  if (rules.levels == ReductionLevels::none) return;  // ascending k already
  for (Candidate& candidate : candidates_) {
    const std::int32_t group =
        rules.order == ReductionOrder::highest_k ? last_k_[static_cast<std::size_t>(candidate.rank)] : candidate.rank;
    candidate.key = group * kMaxTopK + candidate.k;
  }
  sort_candidates();
}

// Insertion sort: a handful of elements, nearly in order.
void Resolver::sort_candidates() {
  for (std::size_t i = 1; i < candidates_.size(); ++i) {
    for (std::size_t j = i; j > 0 && candidates_[j].key < candidates_[j - 1].key; --j) {
      std::swap(candidates_[j], candidates_[j - 1]);
    }
  }
}

}  // namespace railyard::routing
