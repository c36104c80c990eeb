// SPDX-License-Identifier: Apache-2.0
// Sums of rows. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/copy.hpp"
#include "codecs/vector_load.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::codecs {

template <class V, DType Input>
void vector_accumulate(float* accumulator, const void* row, int hidden) noexcept {
  int i = 0;
  for (; i + 2 * V::kWidth <= hidden; i += 2 * V::kWidth) {
    std::byte* const at = element_at<DType::fp32>(accumulator, i);
    V::store_raw(at, V::add(V::load_raw(at), V::template load<Input>(element_at<Input>(row, i))));
    std::byte* const next = element_at<DType::fp32>(accumulator, i + V::kWidth);
    V::store_raw(next, V::add(V::load_raw(next), V::template load<Input>(element_at<Input>(row, i + V::kWidth))));
  }
  for (; i < hidden; i += V::kWidth) {
    const int n = hidden - i < V::kWidth ? hidden - i : V::kWidth;
    std::byte* const at = element_at<DType::fp32>(accumulator, i);
    store_raw_part<V>(at, V::add(load_part<V, DType::fp32>(at, n), load_part<V, Input>(element_at<Input>(row, i), n)),
                      n);
  }
}

template <class V, DType Input>
void vector_accumulate_weighted(float* accumulator, float weight, const void* row, int hidden) noexcept {
  const typename V::Floats factor = V::broadcast(weight);
  int i = 0;
  for (; i + V::kWidth <= hidden; i += V::kWidth) {
    std::byte* const at = element_at<DType::fp32>(accumulator, i);
    V::store_raw(at, V::fused(factor, V::template load<Input>(element_at<Input>(row, i)), V::load_raw(at)));
  }
  if (i < hidden) {
    std::byte* const at = element_at<DType::fp32>(accumulator, i);
    const int n = hidden - i;
    store_raw_part<V>(
        at, V::fused(factor, load_part<V, Input>(element_at<Input>(row, i), n), load_part<V, DType::fp32>(at, n)), n);
  }
}

/// What a sum is made of; `weights` and `initial` may be null.
struct Terms {
  const void* const* rows;
  const float* weights;
  int count;
  const float* initial;
};

/// 2 * Pairs vectors of elements from `first` on: the accumulators stay in registers while the rows pass.
template <class V, DType Input, DType Output, Stores S, bool Weighted, int Pairs>
void vector_sum_chunk(const Terms& terms, void* out, int first) noexcept {
  constexpr int kVectors = 2 * Pairs;
  typename V::Floats accumulator[static_cast<std::size_t>(kVectors)];
  for (int v = 0; v < kVectors; ++v) {
    accumulator[v] = terms.initial != nullptr
                         ? V::load_raw(element_at<DType::fp32>(terms.initial, first + v * V::kWidth))
                         : V::broadcast(0.0F);
  }
  for (int r = 0; r < terms.count; ++r) {
    const std::byte* const row = element_at<Input>(terms.rows[r], first);
    V::prefetch(row + V::kPrefetchBytes);
    typename V::Floats weight{};
    if constexpr (Weighted) {
      weight = V::broadcast(terms.weights[r]);
    }
    for (int v = 0; v < kVectors; ++v) {
      const typename V::Floats term = V::template load<Input>(element_at<Input>(row, v * V::kWidth));
      if constexpr (Weighted) {
        accumulator[v] = V::fused(weight, term, accumulator[v]);
      } else {
        accumulator[v] = V::add(accumulator[v], term);
      }
    }
  }
  for (int v = 0; v < kVectors; v += 2) {
    std::byte* const at = element_at<Output>(out, first + v * V::kWidth);
    if constexpr (S == Stores::streaming) {
      V::template stream_pair<Output>(at, accumulator[v], accumulator[v + 1]);
    } else {
      V::template store_pair<Output>(at, accumulator[v], accumulator[v + 1]);
    }
  }
}

/// The `n` (at most kWidth) elements from `first` on.
template <class V, DType Input, DType Output, bool Weighted>
void vector_sum_part(const Terms& terms, void* out, int first, int n) noexcept {
  typename V::Floats accumulator = terms.initial != nullptr
                                       ? load_part<V, DType::fp32>(element_at<DType::fp32>(terms.initial, first), n)
                                       : V::broadcast(0.0F);
  for (int r = 0; r < terms.count; ++r) {
    const typename V::Floats term = load_part<V, Input>(element_at<Input>(terms.rows[r], first), n);
    if constexpr (Weighted) {
      accumulator = V::fused(V::broadcast(terms.weights[r]), term, accumulator);
    } else {
      accumulator = V::add(accumulator, term);
    }
  }
  store_part<V, Output>(element_at<Output>(out, first), accumulator, n);
}

template <class V, DType Input, DType Output, Stores S, bool Weighted>
void vector_sum_from(const Terms& terms, void* out, int first, int hidden) noexcept {
  constexpr int kChunk = 2 * V::kPairs * V::kWidth;
  int i = first;
  for (; i + kChunk <= hidden; i += kChunk) {
    vector_sum_chunk<V, Input, Output, S, Weighted, V::kPairs>(terms, out, i);
  }
  for (; i + 2 * V::kWidth <= hidden; i += 2 * V::kWidth) {
    vector_sum_chunk<V, Input, Output, Stores::ordinary, Weighted, 1>(terms, out, i);
  }
  for (; i < hidden; i += V::kWidth) {
    vector_sum_part<V, Input, Output, Weighted>(terms, out, i, hidden - i < V::kWidth ? hidden - i : V::kWidth);
  }
}

template <class V, DType Input, DType Output, Stores S, bool Weighted>
void vector_sum_weighted(const Terms& terms, void* out, int hidden) noexcept {
  constexpr std::size_t kBytes = kElementBytes<Output>;
  const auto address = reinterpret_cast<std::uintptr_t>(out);
  if constexpr (S == Stores::streaming) {
    if (address % kBytes == 0 && static_cast<std::size_t>(hidden) * kBytes >= kStreamingMinimumBytes) {
      const auto head = static_cast<int>((kCacheLineBytes - address % kCacheLineBytes) % kCacheLineBytes / kBytes);
      for (int i = 0; i < head; i += V::kWidth) {
        vector_sum_part<V, Input, Output, Weighted>(terms, out, i, head - i < V::kWidth ? head - i : V::kWidth);
      }
      vector_sum_from<V, Input, Output, Stores::streaming, Weighted>(terms, out, head, hidden);
      return;
    }
  }
  vector_sum_from<V, Input, Output, Stores::ordinary, Weighted>(terms, out, 0, hidden);
}

template <class V, DType Input, DType Output, Stores S>
void vector_sum(const void* const* rows, const float* weights, int count, const float* initial, void* out,
                int hidden) noexcept {
  const Terms terms{rows, weights, count, initial};
  if (weights != nullptr) {
    vector_sum_weighted<V, Input, Output, S, true>(terms, out, hidden);
  } else {
    vector_sum_weighted<V, Input, Output, S, false>(terms, out, hidden);
  }
}

}  // namespace railyard::codecs
