// SPDX-License-Identifier: Apache-2.0
// Copies of a row. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/copy.hpp"
#include "codecs/vector_load.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace railyard::codecs {

/// A row that goes to one place is read in this many places by turns: its pages are fetched side by side, which one
/// walk from end to end does not reach (18.1 instead of 16.7 GB/s read and written for rows of 14336 bytes, one
/// Sapphire Rapids core). To two places one walk is the faster (20.5 instead of 23.5 us for 16 such rows, one Zen 4
/// core).
inline constexpr std::size_t kCopyWalks = 4;

/// To N destinations that lie alike in their cache lines.
template <class V, std::size_t N>
void vector_stream_copy(void* const* destinations, const std::byte* source, std::size_t bytes) noexcept {
  constexpr std::size_t kStep = 4 * kCacheLineBytes;
  constexpr std::size_t kWalks = N == 1 ? kCopyWalks : 1;
  std::byte* to[N];
  for (std::size_t d = 0; d < N; ++d) to[d] = static_cast<std::byte*>(destinations[d]);
  const auto copy_part = [&](std::size_t first, std::size_t count) {
    for (std::byte* destination : to) std::memcpy(destination + first, source + first, count);
  };
  const auto stream = [&](std::size_t first) {
    for (std::byte* destination : to) V::stream_lines(destination + first, source + first);
  };
  std::size_t done = bytes_to_line(destinations[0]);
  copy_part(0, done);
  const std::size_t part = (bytes - done) / kWalks / kStep * kStep;
  for (std::size_t i = done; i < done + part; i += kStep) {
    for (std::size_t walk = 0; walk < kWalks; ++walk) stream(i + walk * part);
  }
  for (done += kWalks * part; done + kStep <= bytes; done += kStep) stream(done);
  copy_part(done, bytes - done);
}

/// Two destinations at a time share a read of the row (39 GB/s read and written instead of 29, one Zen 4 core); the
/// others read it in the cache.
template <class V, Stores S>
void vector_copy(void* const* destinations, int count, const void* source, std::size_t bytes) noexcept {
  const auto* const from = static_cast<const std::byte*>(source);
  if (S == Stores::ordinary || bytes < kStreamingMinimumBytes) {
    for (int d = 0; d < count; ++d) std::memcpy(destinations[d], from, bytes);
    return;
  }
  for (int d = 0; d < count;) {
    if (d + 1 < count && bytes_to_line(destinations[d]) == bytes_to_line(destinations[d + 1])) {
      vector_stream_copy<V, 2>(destinations + d, from, bytes);
      d += 2;
    } else {
      vector_stream_copy<V, 1>(destinations + d, from, bytes);
      d += 1;
    }
  }
}

}  // namespace railyard::codecs
