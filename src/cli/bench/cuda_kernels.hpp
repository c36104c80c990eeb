// SPDX-License-Identifier: Apache-2.0
// Small kernels that measuring needs.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace railyard::cli::bench {

/// Keeps the stream busy for so long on one thread, so that what is submitted behind it is all there when it ends.
void hold_stream(cudaStream_t stream, std::uint64_t nanoseconds);

/// Rows of `row_bytes` (a multiple of 4), `pitch` bytes apart.
struct DigestRegion {
  const void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t row_bytes = 0;
  std::int64_t pitch = 0;
};

/// Adds to `*sum` (device memory) 64 bits that depend on every 32-bit word, its place in its row and its row: not on
/// the pitch. `salt` tells regions apart.
void add_digest(cudaStream_t stream, const DigestRegion& region, std::uint64_t salt, std::uint64_t* sum);

}  // namespace railyard::cli::bench
