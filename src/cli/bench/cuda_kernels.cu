// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_kernels.hpp"
#include "device/clock.cuh"
#include "device/cuda_call.hpp"

namespace railyard::cli::bench {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 264;

/// One thread. Ends when the time has passed.
__global__ void hold(std::uint64_t nanoseconds) {
  const std::uint64_t start = device::global_time_ns();
  while (device::global_time_ns() - start < nanoseconds) __nanosleep(200);
}

/// The finaliser of SplitMix64.
__device__ __forceinline__ std::uint64_t mixed(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

/// Every thread hashes words a grid apart; a sum of hashes does not depend on the order.
__global__ void digest(const __grid_constant__ DigestRegion region, std::uint64_t salt, std::uint64_t* sum) {
  const std::int64_t words = region.row_bytes / 4;
  const std::int64_t all = words * region.rows;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  std::uint64_t own = 0;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < all; i += step) {
    const std::int64_t row = i / words;
    const char* const start = static_cast<const char*>(region.data) + row * region.pitch;
    const std::uint32_t word = reinterpret_cast<const std::uint32_t*>(start)[i - row * words];
    own += mixed(mixed(static_cast<std::uint64_t>(i) + salt) ^ word);
  }
  atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(own));
}

}  // namespace

void hold_stream(cudaStream_t stream, std::uint64_t nanoseconds) {
  hold<<<1, 1, 0, stream>>>(nanoseconds);
  device::require_cuda(cudaGetLastError(), "a kernel that waits");
}

void add_digest(cudaStream_t stream, const DigestRegion& region, std::uint64_t salt, std::uint64_t* sum) {
  digest<<<kBlocks, kThreads, 0, stream>>>(region, salt << 40, sum);
  device::require_cuda(cudaGetLastError(), "a kernel that digests");
}

}  // namespace railyard::cli::bench
