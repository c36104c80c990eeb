// SPDX-License-Identifier: Apache-2.0
// What the reference says about a scenario.
#pragma once

#include "multi_rank/scenario.hpp"
#include "reference/reference.hpp"

#include <vector>

namespace railyard::multi_rank {

struct ExpectedRound {
  std::vector<reference::Result> dispatched;            // one for each payload
  std::vector<std::vector<reference::Bytes>> combined;  // [combines][ranks]
};

[[nodiscard]] std::vector<ExpectedRound> expect(const Scenario& scenario);

/// The round as the ranks that are left mean it: ids of experts on `masked` ranks are -1, these have no tokens.
[[nodiscard]] Round without_ranks(const Scenario& scenario, Round round, const std::vector<int>& masked);

/// For tests that build rounds by hand.
[[nodiscard]] reference::Result expect_dispatch(const Scenario& scenario, const Round& round, const Payload& payload);

}  // namespace railyard::multi_rank
