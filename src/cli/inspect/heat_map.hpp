// SPDX-License-Identifier: Apache-2.0
// Rows from each rank to each rank as an SVG heat map: labelled axes, a legend, colors that any color vision tells
// apart and that also differ in lightness.
#pragma once

#include "cli/inspect/tally.hpp"

#include <cstdint>
#include <string>

namespace railyard::cli::inspect {

inline constexpr int kMostDrawnRanks = 256;

/// A complete document for up to kMostDrawnRanks ranks. `row_bytes`: payload and scales of a row.
[[nodiscard]] std::string heat_map_of(const Tally& tally, std::int64_t row_bytes, const std::string& title);

}  // namespace railyard::cli::inspect
