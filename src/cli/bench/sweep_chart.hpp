// SPDX-License-Identifier: Apache-2.0
// The chart of a run's sweep.
#pragma once

#include "cli/bench/plot.hpp"
#include "cli/bench/result.hpp"

namespace railyard::cli::bench {

/// Several numbers of SMs: GB/s over them, a set of lines for each count of tokens. Otherwise microseconds over tokens,
/// both axes logarithmic. One line for each operation (graph timing where there is one), and dashed, in its color, the
/// limit that it was compared with. Over SMs, what has no number of them (a copy engine, a peer) is a dashed level.
[[nodiscard]] Chart chart_of(const Run& run);

}  // namespace railyard::cli::bench
