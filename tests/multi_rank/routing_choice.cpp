// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/routing_choice.hpp"

#include <algorithm>
#include <limits>

namespace railyard::multi_rank {

RoutingChoice RoutingChoice::draw(Random& random) {
  RoutingChoice choice;
  choice.distinct = random.chance(60);
  choice.none_percent = random.chance(50) ? 0 : static_cast<int>(random.one_of({5, 30, 95}));
  choice.invalid_per_mille = random.chance(80) ? 0 : 20;
  choice.hot_percent = random.chance(60) ? 0 : static_cast<int>(random.one_of({50, 90}));
  choice.one_expert = random.chance(6);
  return choice;
}

std::vector<std::int64_t> random_ids(Random& random, const RoutingChoice& choice, std::int64_t tokens, int top_k,
                                     int experts, DType id_type) {
  std::vector<std::int64_t> ids;
  ids.reserve(static_cast<std::size_t>(tokens * top_k));
  const std::int64_t hot = std::max<std::int64_t>(1, experts / 8);
  const std::int64_t the_one = random.below(experts);
  const auto draw = [&]() -> std::int64_t {
    if (random.below(1000) < choice.invalid_per_mille) {
      // 2^32 + 1 is a legal expert once it is truncated to 32 bits.
      const bool wide = id_type == DType::int64;
      return random.one_of<std::int64_t>(
          {experts, experts + 7, -2, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max(),
           wide ? (std::int64_t{1} << 32) + 1 : -3, wide ? std::numeric_limits<std::int64_t>::min() : -4,
           wide ? -(std::int64_t{1} << 32) : -5});
    }
    if (random.chance(choice.none_percent)) {
      return -1;
    }
    if (choice.one_expert) {
      return the_one;
    }
    return random.below(random.chance(choice.hot_percent) ? hot : experts);
  };
  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::size_t first = ids.size();
    for (int k = 0; k < top_k; ++k) {
      std::int64_t id = draw();
      const auto used = [&] {
        return std::find(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end(), id) != ids.end();
      };
      for (int tries = 0; choice.distinct && !choice.one_expert && id >= 0 && id < experts && used() && tries < 8;
           ++tries) {
        id = draw();
      }
      if (choice.distinct && !choice.one_expert && id >= 0 && used()) {
        id = -1;
      }
      ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace railyard::multi_rank
