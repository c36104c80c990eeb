// SPDX-License-Identifier: Apache-2.0
// The case that the routing tests work out by hand: two ranks, experts 0 and 1 on rank 0, expert 2 on rank 1, top-3.
//   source 0  token 0: 1 2 0    token 1: 2 2 -
//   source 1  token 0: 0 1 1
#pragma once

#include "values.hpp"

namespace railyard::reference {

inline Config small_config(Layout layout, std::vector<std::int64_t> capacity) {
  Config config;
  config.experts_per_rank = {2, 1};
  config.top_k = 3;
  config.hidden = 8;
  config.layout = layout;
  config.capacity = std::move(capacity);
  config.has_weights = true;
  return config;
}

inline std::vector<Source> small_sources() {
  std::vector<Source> sources(2);
  sources[0].tokens = 2;
  sources[0].ids = {1, 2, 0, 2, 2, -1};
  sources[0].weights = {0.5F, 0.25F, 0.125F, 1, 2, 4};
  sources[0].x = counting_rows(2, 10);  // 10, 11
  sources[1].tokens = 1;
  sources[1].ids = {0, 1, 1};
  sources[1].weights = {8, 16, 32};
  sources[1].x = counting_rows(1, 20);  // 20
  return sources;
}

}  // namespace railyard::reference
