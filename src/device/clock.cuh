// SPDX-License-Identifier: Apache-2.0
// Time on the device, and the delays that debug builds inject.
#pragma once

#include <cstdint>

namespace railyard::device {

/// Nanoseconds, the same clock on all SMs; it advances in steps (about 1 us, or 32 ns).
__device__ __forceinline__ std::uint64_t global_time_ns() {
  std::uint64_t value;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(value)::"memory");
  return value;
}

/// Cycles of this SM: read in a few of them, unlike global_time_ns. Comparable within a block; their rate changes.
__device__ __forceinline__ std::uint64_t cycles() {
  std::uint64_t value;
  asm volatile("mov.u64 %0, %%clock64;" : "=l"(value)::"memory");
  return value;
}

/// With RAILYARD_DEBUG_DELAYS: up to about 8 us, a quarter of the time, before every release, acquire and reuse of a
/// buffer, so that orders that merely happen to hold are broken. Otherwise nothing.
__device__ __forceinline__ void debug_delay() {
#if defined(RAILYARD_DEBUG_DELAYS) && RAILYARD_DEBUG_DELAYS
  std::uint32_t hash = static_cast<std::uint32_t>(clock64()) * 2654435761U + threadIdx.x * 40503U + blockIdx.x * 9176U;
  hash ^= hash >> 15;
  if ((hash & 3U) == 0) __nanosleep((hash >> 2) & 8191U);
#endif
}

}  // namespace railyard::device
