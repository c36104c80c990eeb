// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_permute.hpp"
#include "device/convert.cuh"
#include "device/cuda_call.hpp"

#include <algorithm>

namespace railyard::cli::bench {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = 4096;

/// A block per row, its threads next to each other.
template <class Unit>
__global__ void __launch_bounds__(kThreads)
    gather(Unit* to, const Unit* from, const std::int32_t* tokens, std::int64_t count, int units) {
  for (std::int64_t row = blockIdx.x; row < count; row += gridDim.x) {
    const Unit* const source = from + static_cast<std::int64_t>(tokens[row]) * units;
    Unit* const destination = to + row * units;
    for (int i = static_cast<int>(threadIdx.x); i < units; i += kThreads) destination[i] = source[i];
  }
}

/// A block per token, eight elements per thread.
__global__ void __launch_bounds__(kThreads)
    sum(uint4* out, const uint4* rows, const std::int32_t* places, int tokens, int ranks, int units) {
  for (int token = static_cast<int>(blockIdx.x); token < tokens; token += static_cast<int>(gridDim.x)) {
    for (int i = static_cast<int>(threadIdx.x); i < units; i += kThreads) {
      float2 sums[4] = {};
      for (int rank = 0; rank < ranks; ++rank) {
        const std::int64_t place = places[static_cast<std::int64_t>(token) * ranks + rank];
        if (place < 0) continue;
        const uint4 packed = rows[place * units + i];
        const std::uint32_t pairs[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 values = device::bf16_pair_to_floats(pairs[j]);
          sums[j] = {__fadd_rn(sums[j].x, values.x), __fadd_rn(sums[j].y, values.y)};
        }
      }
      out[static_cast<std::int64_t>(token) * units + i] = {
          device::floats_to_bf16_pair(sums[0].x, sums[0].y), device::floats_to_bf16_pair(sums[1].x, sums[1].y),
          device::floats_to_bf16_pair(sums[2].x, sums[2].y), device::floats_to_bf16_pair(sums[3].x, sums[3].y)};
    }
  }
}

unsigned blocks_for(std::int64_t rows) { return static_cast<unsigned>(std::clamp<std::int64_t>(rows, 1, kMostBlocks)); }

}  // namespace

void gather_rows(cudaStream_t stream, void* to, const void* from, const std::int32_t* tokens, std::int64_t count,
                 std::int64_t row_bytes) {
  if (row_bytes % 16 == 0) {
    gather<<<blocks_for(count), kThreads, 0, stream>>>(static_cast<uint4*>(to), static_cast<const uint4*>(from), tokens,
                                                       count, static_cast<int>(row_bytes / 16));
  } else {
    gather<<<blocks_for(count), kThreads, 0, stream>>>(static_cast<std::uint32_t*>(to),
                                                       static_cast<const std::uint32_t*>(from), tokens, count,
                                                       static_cast<int>(row_bytes / 4));
  }
  device::require_cuda(cudaGetLastError(), "gathering rows");
}

void sum_rows(cudaStream_t stream, void* out, const void* rows, const std::int32_t* places, int tokens, int ranks,
              int hidden) {
  sum<<<blocks_for(tokens), kThreads, 0, stream>>>(static_cast<uint4*>(out), static_cast<const uint4*>(rows), places,
                                                   tokens, ranks, hidden / 8);
  device::require_cuda(cudaGetLastError(), "summing rows");
}

}  // namespace railyard::cli::bench
