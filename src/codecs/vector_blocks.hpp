// SPDX-License-Identifier: Apache-2.0
// Block-scaled E4M3 rows. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/fp8_e4m3.hpp"
#include "codecs/vector_load.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace railyard::codecs {

/// max(kMinAmax, max |x|) of `n` elements, ignoring NaN.
template <class V, DType Input>
float vector_amax(const void* source, int n) noexcept {
  typename V::Floats even = V::broadcast(kMinAmax);
  typename V::Floats odd = even;
  int i = 0;
  for (; i + 2 * V::kWidth <= n; i += 2 * V::kWidth) {
    even = V::max_magnitude(even, V::template load<Input>(element_at<Input>(source, i)));
    odd = V::max_magnitude(odd, V::template load<Input>(element_at<Input>(source, i + V::kWidth)));
  }
  for (; i < n; i += V::kWidth) {
    const int part = n - i < V::kWidth ? n - i : V::kWidth;
    even = V::max_magnitude(even, load_part<V, Input>(element_at<Input>(source, i), part));
  }
  return V::greatest(V::max_magnitude(even, odd));
}

/// q = satfinite(x * multiplier) of `n` elements.
template <class V, DType Input>
void vector_quantise(const void* source, std::byte* row, float multiplier, int n) noexcept {
  constexpr int kGroup = 4 * V::kWidth;
  const typename V::Floats factor = V::broadcast(multiplier);
  int i = 0;
  for (; i + kGroup <= n; i += kGroup) {
    V::store_e4m3(row + i, V::multiply(V::template load<Input>(element_at<Input>(source, i)), factor),
                  V::multiply(V::template load<Input>(element_at<Input>(source, i + V::kWidth)), factor),
                  V::multiply(V::template load<Input>(element_at<Input>(source, i + 2 * V::kWidth)), factor),
                  V::multiply(V::template load<Input>(element_at<Input>(source, i + 3 * V::kWidth)), factor));
  }
  const typename V::Floats zero = V::broadcast(0.0F);
  for (; i < n; i += V::kWidth) {
    const int part = n - i < V::kWidth ? n - i : V::kWidth;
    std::byte codes[static_cast<std::size_t>(kGroup)];
    V::store_e4m3(codes, V::multiply(load_part<V, Input>(element_at<Input>(source, i), part), factor), zero, zero,
                  zero);
    std::memcpy(row + i, codes, static_cast<std::size_t>(part));
  }
}

template <class V, class Format, DType Input>
void vector_encode_blocks(const void* source, void* row, void* scales, int hidden) noexcept {
  using Scale = typename Format::Scale;
  auto* const codes = static_cast<std::byte*>(row);
  auto* scale = static_cast<std::byte*>(scales);
  for (int first = 0; first < hidden; first += Format::kBlock, scale += sizeof(Scale)) {
    const int n = hidden - first < Format::kBlock ? hidden - first : Format::kBlock;
    const void* const elements = element_at<Input>(source, first);
    const auto block = Format::block_of(vector_amax<V, Input>(elements, n));
    std::memcpy(scale, &block.scale, sizeof(Scale));
    vector_quantise<V, Input>(elements, codes + first, block.multiplier, n);
  }
}

template <class V, class Format, DType Output>
void vector_decode_blocks(const void* row, const void* scales, void* destination, int hidden) noexcept {
  using Scale = typename Format::Scale;
  const auto* const codes = static_cast<const std::byte*>(row);
  const auto* next_scale = static_cast<const std::byte*>(scales);
  for (int first = 0; first < hidden; first += Format::kBlock, next_scale += sizeof(Scale)) {
    const int last = hidden - first < Format::kBlock ? hidden : first + Format::kBlock;
    Scale scale;
    std::memcpy(&scale, next_scale, sizeof(Scale));
    const typename V::Floats factor = V::broadcast(Format::scale_value(scale));
    int i = first;
    for (; i + 2 * V::kWidth <= last; i += 2 * V::kWidth) {
      V::template store_pair<Output>(element_at<Output>(destination, i), V::multiply(V::load_e4m3(codes + i), factor),
                                     V::multiply(V::load_e4m3(codes + i + V::kWidth), factor));
    }
    for (; i < last; i += V::kWidth) {
      const int part = last - i < V::kWidth ? last - i : V::kWidth;
      std::byte buffer[static_cast<std::size_t>(V::kWidth)] = {};
      std::memcpy(buffer, codes + i, static_cast<std::size_t>(part));
      store_part<V, Output>(element_at<Output>(destination, i), V::multiply(V::load_e4m3(buffer), factor), part);
    }
  }
}

}  // namespace railyard::codecs
