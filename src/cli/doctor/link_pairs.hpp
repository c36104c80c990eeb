// SPDX-License-Identifier: Apache-2.0
// What measured links between GPUs say of a machine.
#pragma once

#include "cli/bench/pair_rate.hpp"
#include "cli/doctor/finding.hpp"

#include <vector>

namespace railyard::cli::doctor {

/// Adds the rates of all ordered pairs to a finding, at least one pair. A slowest one that stays 20 % or more below the
/// median is named, and makes the finding a note.
void describe_pairs(const std::vector<bench::PairRate>& pairs, Finding& finding);

}  // namespace railyard::cli::doctor
