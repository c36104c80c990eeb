// SPDX-License-Identifier: Apache-2.0
// Where rows must be, by plain loops over all ranks' ids: the check at full size, and the capacity to ask for.
#pragma once

#include "cli/bench/options.hpp"
#include "cli/routing.hpp"

#include <railyard/placement.hpp>

#include <cstdint>
#include <vector>

namespace railyard::cli::bench {

/// Group starts in expert_major: what FP8 grouped GEMMs ask for.
inline constexpr int kAlignment = 128;

/// One row that holds a token.
struct PlacedRow {
  std::int64_t row = 0;  // flat row at the destination
  std::int32_t token = 0;
  std::int32_t source = 0;
  std::int32_t k = 0;  // rank_major: the lowest one on this rank
};

struct Arrivals {
  std::vector<PlacedRow> rows;
  std::vector<std::int32_t> expert_counts;  // [local experts] entries
  std::int64_t needed = 0;                  // capacity that holds them all, in the layout's unit
};

/// What arrives at `rank` from `choices` (one per source). `capacity` sets where an expert's slots start
/// (expert_slots); otherwise it has no influence.
[[nodiscard]] Arrivals arrivals_at(const Options& options, const Placement& placement,
                                   const std::vector<const Choices*>& choices, int rank, std::int64_t capacity);

}  // namespace railyard::cli::bench
