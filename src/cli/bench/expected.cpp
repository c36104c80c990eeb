// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/expected.hpp"

#include <algorithm>

namespace railyard::cli::bench {
namespace {

/// Calls visit(source, token, k, local expert) for every entry on `rank`, ordered by (source, token, k).
template <typename Visit>
void for_each_entry(const Options& options, const Placement& placement, const std::vector<const Choices*>& choices,
                    int rank, const Visit& visit) {
  const int first = placement.first_expert(rank);
  const int local_experts = placement.local_experts(rank);
  for (std::size_t source = 0; source < choices.size(); ++source) {
    const std::vector<std::int32_t>& ids = choices[source]->ids;
    for (std::size_t entry = 0; entry < ids.size(); ++entry) {
      const int local = ids[entry] - first;
      if (local >= 0 && local < local_experts) {
        visit(static_cast<std::int32_t>(source),
              static_cast<std::int32_t>(entry / static_cast<std::size_t>(options.top_k)),
              static_cast<std::int32_t>(entry % static_cast<std::size_t>(options.top_k)),
              static_cast<std::size_t>(local));
      }
    }
  }
}

std::int64_t aligned(std::int64_t rows) { return (rows + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Arrivals arrivals_at(const Options& options, const Placement& placement, const std::vector<const Choices*>& choices,
                     int rank, std::int64_t capacity) {
  Arrivals result;
  result.expert_counts.resize(static_cast<std::size_t>(placement.local_experts(rank)));
  for_each_entry(options, placement, choices, rank,
                 [&](auto, auto, auto, std::size_t local) { ++result.expert_counts[local]; });

  std::vector<std::int64_t> next(result.expert_counts.size());  // the next free row of each expert
  for (std::size_t local = 0; local < next.size(); ++local) {
    if (options.layout == Layout::expert_slots) {
      next[local] = static_cast<std::int64_t>(local) * capacity;
      result.needed = std::max<std::int64_t>(result.needed, result.expert_counts[local]);
    } else if (options.layout == Layout::expert_major) {
      next[local] = result.needed;
      result.needed += aligned(result.expert_counts[local]);
    }
  }
  for_each_entry(
      options, placement, choices, rank,
      [&](std::int32_t source, std::int32_t token, std::int32_t k, std::size_t local) {
        if (options.layout != Layout::rank_major) {
          result.rows.push_back({next[local]++, token, source, k});
        } else if (result.rows.empty() || result.rows.back().token != token || result.rows.back().source != source) {
          result.rows.push_back({result.needed++, token, source, k});
        }
      });
  return result;
}

}  // namespace railyard::cli::bench
