// SPDX-License-Identifier: Apache-2.0
// What a user of a plain all-to-all writes around it: rows gathered by destination before, summed by token after.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace railyard::cli::bench {

/// to[i] = from[tokens[i]] for `count` rows of `row_bytes` (a multiple of 4), both without gaps.
void gather_rows(cudaStream_t stream, void* to, const void* from, const std::int32_t* tokens, std::int64_t count,
                 std::int64_t row_bytes);

/// bf16, hidden a multiple of 8: out[t] = the sum of rows[places[t * ranks + r]] over r in ascending order in fp32,
/// rounded once; a place of -1 adds nothing.
void sum_rows(cudaStream_t stream, void* out, const void* rows, const std::int32_t* places, int tokens, int ranks,
              int hidden);

}  // namespace railyard::cli::bench
