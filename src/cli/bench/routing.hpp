// SPDX-License-Identifier: Apache-2.0
// Synthetic top-k choices.
#pragma once

#include "cli/bench/options.hpp"

#include <cstdint>
#include <vector>

namespace railyard::cli::bench {

/// Groups of --routing group-limited, as in DeepSeek-V3.
inline constexpr int kRoutingGroups = 8;
inline constexpr int kRoutingKeptGroups = 4;

struct Choices {
  std::vector<std::int32_t> ids;  // [tokens, top_k], distinct within a token
  std::vector<float> weights;     // [tokens, top_k], positive, sum 1 per token
};

/// A pure function of the options (routing, skew, experts, top_k, seed) and its arguments. The popularity of experts
/// under zipf is one seeded permutation, the same for every rank and slot.
[[nodiscard]] Choices choose_experts(const Options& options, int tokens, int rank, int slot);

}  // namespace railyard::cli::bench
