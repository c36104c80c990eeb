// SPDX-License-Identifier: Apache-2.0
// Random top-k ids of every kind that a router, a bug or a test may produce.
#pragma once

#include "multi_rank/random.hpp"

#include <cstdint>
#include <vector>

namespace railyard::multi_rank {

/// How one round chooses experts.
struct RoutingChoice {
  bool distinct = true;       // no expert twice in a token, while there are enough experts
  int none_percent = 0;       // ids that are -1
  int invalid_per_mille = 0;  // ids outside [-1, experts)
  int hot_percent = 0;        // ids drawn from the first few experts
  bool one_expert = false;    // every id is the same
  [[nodiscard]] static RoutingChoice draw(Random& random);
};

/// `[tokens, top_k]`.
[[nodiscard]] std::vector<std::int64_t> random_ids(Random& random, const RoutingChoice& choice, std::int64_t tokens,
                                                   int top_k, int experts, DType id_type);

}  // namespace railyard::multi_rank
