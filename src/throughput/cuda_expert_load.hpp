// SPDX-License-Identifier: Apache-2.0
// Load statistics: the entries of each dispatch, added up where they are.
#pragma once

#include "throughput/cuda_launch.hpp"

#include <cstdint>

namespace railyard::throughput {

/// load[i] += counts[i] on `stream`, staying at 2^31 - 1, unless the dispatch of `result` failed; one block. Throws
/// railyard::Error with CUDA's words.
void add_expert_load(std::int32_t* load, const std::int32_t* counts, int num_experts, const CudaDispatchResult* result,
                     void* stream);

[[nodiscard]] const void* expert_load_kernel_address();

}  // namespace railyard::throughput
