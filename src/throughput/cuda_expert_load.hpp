// SPDX-License-Identifier: Apache-2.0
// Load statistics: the entries of each dispatch, added up where they are.
#pragma once

#include <cstdint>

namespace railyard::throughput {

/// load[i] += counts[i] on `stream`, staying at 2^31 - 1; one block. Throws railyard::Error with CUDA's words.
void add_expert_load(std::int32_t* load, const std::int32_t* counts, int num_experts, void* stream);

}  // namespace railyard::throughput
