// SPDX-License-Identifier: Apache-2.0
// Copies of a row. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/copy.hpp"
#include "codecs/vector_load.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace railyard::codecs {

template <class V>
void vector_stream_copy(std::byte* destination, const std::byte* source, std::size_t bytes) noexcept {
  if (bytes < kStreamingMinimumBytes) {
    std::memcpy(destination, source, bytes);
    return;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(destination);
  std::size_t done = (kCacheLineBytes - address % kCacheLineBytes) % kCacheLineBytes;
  std::memcpy(destination, source, done);
  for (; done + 4 * kCacheLineBytes <= bytes; done += 4 * kCacheLineBytes) {
    for (std::size_t line = 0; line < 4; ++line) {
      V::prefetch(source + done + line * kCacheLineBytes + V::kPrefetchBytes);
    }
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
