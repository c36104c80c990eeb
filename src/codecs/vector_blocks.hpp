// SPDX-License-Identifier: Apache-2.0
// Block-scaled E4M3 rows. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/fp8_e4m3.hpp"
#include "codecs/vector_load.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace railyard::codecs {

/// What the encoder needs to know of one block.
struct BlockRange {
  float amax;   // max(kMinAmax, max |x| ignoring NaN)
  bool finite;  // neither NaN nor infinity
};

/// The rare case of `vector_range`: with NaN, one element after the other.
template <DType Input>
BlockRange range_with_nan(const void* source, int n) noexcept {
  float amax = kMinAmax;
  for (int i = 0; i < n; ++i) {
    typename Element<Input>::Storage code;
    std::memcpy(&code, element_at<Input>(source, i), sizeof code);
    const float value = Element<Input>::to_float(code);
    const float magnitude = value < 0.0F ? -value : value;
    amax = magnitude > amax ? magnitude : amax;  // a NaN compares false
  }
  return {amax, false};
}

/// The largest magnitude of `n` elements, by their codes: magnitudes order like their codes, NaN above infinity.
template <class V, DType Input>
BlockRange vector_range(const void* source, int n) noexcept {
  constexpr int kCount = static_cast<int>(sizeof(typename V::Words) / kElementBytes<Input>);
  typename V::Words greatest = V::zero_words();
  int i = 0;
  for (; i + kCount <= n; i += kCount) {
    greatest = V::template max_code<Input>(greatest, V::template magnitude_codes<Input>(element_at<Input>(source, i)));
  }
  if (i < n) {
    alignas(64) std::byte buffer[sizeof(typename V::Words)] = {};
    std::memcpy(buffer, element_at<Input>(source, i), static_cast<std::size_t>(n - i) * kElementBytes<Input>);
    greatest = V::template max_code<Input>(greatest, V::template magnitude_codes<Input>(buffer));
  }
  const auto code = V::template greatest_code<Input>(greatest);
  if (code > Element<Input>::kInfinity) {
    return range_with_nan<Input>(source, n);
  }
  const float amax = Element<Input>::to_float(code);
  return {amax > kMinAmax ? amax : kMinAmax, code < Element<Input>::kInfinity};
}

/// q = satfinite(x * multiplier) of `n` elements. `Finite` is the block's `finite`: no product is then NaN or rounds
/// beyond 448, because |x| <= amax and amax * multiplier exceeds 448 by roundings at most.
template <class V, DType Input, bool Finite>
void vector_quantise(const void* source, std::byte* row, float multiplier, int n) noexcept {
  constexpr int kGroup = 4 * V::kWidth;
  const typename V::Floats factor = V::broadcast(multiplier);
  int i = 0;
  for (; i + kGroup <= n; i += kGroup) {
    V::template store_e4m3<Finite>(
        row + i, V::multiply(V::template load<Input>(element_at<Input>(source, i)), factor),
        V::multiply(V::template load<Input>(element_at<Input>(source, i + V::kWidth)), factor),
        V::multiply(V::template load<Input>(element_at<Input>(source, i + 2 * V::kWidth)), factor),
        V::multiply(V::template load<Input>(element_at<Input>(source, i + 3 * V::kWidth)), factor));
  }
  const typename V::Floats zero = V::broadcast(0.0F);
  for (; i < n; i += V::kWidth) {
    const int part = n - i < V::kWidth ? n - i : V::kWidth;
    std::byte codes[static_cast<std::size_t>(kGroup)];
    V::template store_e4m3<Finite>(codes, V::multiply(load_part<V, Input>(element_at<Input>(source, i), part), factor),
                                   zero, zero, zero);
    std::memcpy(row + i, codes, static_cast<std::size_t>(part));
  }
}

/// Several blocks are measured before the first of them is quantised: their reductions and divisions overlap.
inline constexpr int kBlocksAtOnce = 16;

template <class V, class Format, DType Input>
void vector_encode_blocks(const void* source, void* row, void* scales, int hidden) noexcept {
  using Scale = typename Format::Scale;
  constexpr int kElementsAtOnce = kBlocksAtOnce * Format::kBlock;
  auto* const codes = static_cast<std::byte*>(row);
  auto* scale = static_cast<std::byte*>(scales);
  for (int first = 0; first < hidden; first += kElementsAtOnce) {
    const int last = hidden - first < kElementsAtOnce ? hidden : first + kElementsAtOnce;
    float multipliers[static_cast<std::size_t>(kBlocksAtOnce)];
    bool finite[static_cast<std::size_t>(kBlocksAtOnce)];
    for (int i = first, b = 0; i < last; i += Format::kBlock, ++b, scale += sizeof(Scale)) {
      const int n = last - i < Format::kBlock ? last - i : Format::kBlock;
      const BlockRange range = vector_range<V, Input>(element_at<Input>(source, i), n);
      const auto block = Format::block_of(range.amax);
      std::memcpy(scale, &block.scale, sizeof(Scale));
      multipliers[b] = block.multiplier;
      finite[b] = range.finite;
    }
    for (int i = first, b = 0; i < last; i += Format::kBlock, ++b) {
      const int n = last - i < Format::kBlock ? last - i : Format::kBlock;
      const void* const elements = element_at<Input>(source, i);
      if (finite[b]) {
        vector_quantise<V, Input, true>(elements, codes + i, multipliers[b], n);
      } else {
        vector_quantise<V, Input, false>(elements, codes + i, multipliers[b], n);
      }
    }
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
