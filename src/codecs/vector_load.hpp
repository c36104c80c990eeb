// SPDX-License-Identifier: Apache-2.0
// Loads and stores of less than a vector, for the ends of rows. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/element.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace railyard::codecs {

/// Outputs below this many bytes are not worth a streaming store.
inline constexpr std::size_t kStreamingMinimumBytes = 512;
/// Streaming stores write whole cache lines.
inline constexpr std::size_t kCacheLineBytes = 64;

/// From `address` to the next begin of a line.
[[gnu::always_inline]] inline std::size_t bytes_to_line(const void* address) noexcept {
  return (kCacheLineBytes - reinterpret_cast<std::uintptr_t>(address) % kCacheLineBytes) % kCacheLineBytes;
}

template <DType T>
inline constexpr std::size_t kElementBytes = sizeof(typename Element<T>::Storage);

/// Element `index` of a row whose address may have any alignment. Always inlined: an instance depends on no `V`, so one
/// emitted out of line could be shared between levels.
template <DType T>
[[gnu::always_inline]] inline const std::byte* element_at(const void* row, int index) noexcept {
  return static_cast<const std::byte*>(row) + static_cast<std::size_t>(index) * kElementBytes<T>;
}
template <DType T>
[[gnu::always_inline]] inline std::byte* element_at(void* row, int index) noexcept {
  return static_cast<std::byte*>(row) + static_cast<std::size_t>(index) * kElementBytes<T>;
}

/// The first `n` (0 <= n <= kWidth) elements at `source`, then zeros; reads nothing beyond them.
template <class V, DType T>
typename V::Floats load_part(const void* source, int n) noexcept {
  alignas(64) std::byte buffer[static_cast<std::size_t>(V::kWidth) * kElementBytes<T>] = {};
  std::memcpy(buffer, source, static_cast<std::size_t>(n) * kElementBytes<T>);
  return V::template load<T>(buffer);
}

/// Rounds and stores the first `n` (0 <= n <= kWidth) lanes; writes nothing beyond them.
template <class V, DType T>
void store_part(void* destination, typename V::Floats values, int n) noexcept {
  alignas(64) std::byte buffer[static_cast<std::size_t>(V::kWidth) * 2 * kElementBytes<T>];
  V::template store_pair<T>(buffer, values, values);
  std::memcpy(destination, buffer, static_cast<std::size_t>(n) * kElementBytes<T>);
}

/// The first `n` (0 <= n <= kWidth) fp32 lanes as they are, NaN payloads included.
template <class V>
void store_raw_part(void* destination, typename V::Floats values, int n) noexcept {
  alignas(64) std::byte buffer[static_cast<std::size_t>(V::kWidth) * sizeof(float)];
  V::store_raw(buffer, values);
  std::memcpy(destination, buffer, static_cast<std::size_t>(n) * sizeof(float));
}

}  // namespace railyard::codecs
