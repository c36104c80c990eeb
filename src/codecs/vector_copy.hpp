// SPDX-License-Identifier: Apache-2.0
// Copies of a row. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/copy.hpp"
#include "codecs/vector_load.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <span>

namespace railyard::codecs {

/// A row that goes to one place is read in this many places by turns: its pages are fetched side by side, which one
/// walk from end to end does not reach (18.1 instead of 16.7 GB/s read and written for rows of 14336 bytes, one
/// Sapphire Rapids core). To two places one walk is the faster (20.5 instead of 23.5 us for 16 such rows, one Zen 4
/// core).
inline constexpr std::size_t kCopyWalks = 4;

/// To one destination per `S`. The streamed ones, of which the last is one, lie alike in their cache lines.
template <class V, Stores... S>
void vector_copy_together(const std::array<void*, sizeof...(S)>& destinations, const std::byte* source,
                          std::size_t bytes) noexcept {
  constexpr std::size_t kCount = sizeof...(S);
  constexpr std::size_t kStep = 4 * kCacheLineBytes;
  constexpr std::size_t kWalks = kCount == 1 ? kCopyWalks : 1;
  const auto to = [&](std::size_t d) { return static_cast<std::byte*>(destinations[d]); };
  const auto copy_part = [&](std::size_t first, std::size_t count) {
    for (std::size_t d = 0; d < kCount; ++d) std::memcpy(to(d) + first, source + first, count);
  };
  const auto copy_step = [&](std::size_t first) {
    std::size_t d = 0;
    (V::template copy_lines<S>(to(d++) + first, source + first), ...);
  };
  std::size_t done = bytes_to_line(destinations.back());
  copy_part(0, done);
  const std::size_t part = (bytes - done) / kWalks / kStep * kStep;
  for (std::size_t i = done; i < done + part; i += kStep) {
    for (std::size_t walk = 0; walk < kWalks; ++walk) copy_step(i + walk * part);
  }
  for (done += kWalks * part; done + kStep <= bytes; done += kStep) copy_step(done);
  copy_part(done, bytes - done);
}

/// Two destinations at a time share a read of the row (39 GB/s read and written instead of 29, one Zen 4 core); the
/// others read it in the cache.
template <class V>
void vector_copy(const Destinations& destinations, const void* source, std::size_t bytes) noexcept {
  const auto* const from = static_cast<const std::byte*>(source);
  std::span<void* const> cached = destinations.cached;
  std::span<void* const> streamed = destinations.streamed;
  const bool small = bytes < kStreamingMinimumBytes;
  while (!small && !streamed.empty()) {
    if (!cached.empty()) {
      vector_copy_together<V, Stores::ordinary, Stores::streaming>({cached[0], streamed[0]}, from, bytes);
      cached = cached.subspan(1);
      streamed = streamed.subspan(1);
    } else if (streamed.size() > 1 && bytes_to_line(streamed[0]) == bytes_to_line(streamed[1])) {
      vector_copy_together<V, Stores::streaming, Stores::streaming>({streamed[0], streamed[1]}, from, bytes);
      streamed = streamed.subspan(2);
    } else {
      vector_copy_together<V, Stores::streaming>({streamed[0]}, from, bytes);
      streamed = streamed.subspan(1);
    }
  }
  for (void* destination : cached) std::memcpy(destination, from, bytes);
  for (void* destination : streamed) std::memcpy(destination, from, bytes);
}

}  // namespace railyard::codecs
