// SPDX-License-Identifier: Apache-2.0
// From a wait table to what a group tells.
#pragma once

#include "throughput/cuda_wait_table.hpp"

#include <railyard/wait_statistics.hpp>

namespace railyard::throughput {

/// [ranks] of the group; no rank waits for itself.
[[nodiscard]] WaitStatistics statistics_of(const CudaWaitTable& table, int num_ranks);
/// As if one group had waited for both.
void add(WaitStatistics& sum, const WaitStatistics& more);

}  // namespace railyard::throughput
