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

/// The accumulators of kWidth elements from `first` on, before any row.
template <class V>
typename V::Floats vector_start(const Terms& terms, int first) noexcept {
  return terms.initial != nullptr ? V::load_raw(element_at<DType::fp32>(terms.initial, first)) : V::broadcast(0.0F);
}

/// One term: `accumulator + row` or `fma(weight, row, accumulator)`, for kWidth elements of a row from `source` on.
template <class V, DType Input, bool Weighted>
typename V::Floats vector_term(typename V::Floats accumulator, typename V::Floats weight,
                               const std::byte* source) noexcept {
  const typename V::Floats term = V::template load<Input>(source);
  if constexpr (Weighted) {
    return V::fused(weight, term, accumulator);
  } else {
    return V::add(accumulator, term);
  }
}

template <class V, DType Output, Stores S>
void vector_finish(void* out, int first, typename V::Floats low, typename V::Floats high) noexcept {
  if constexpr (S == Stores::streaming) {
    V::template stream_pair<Output>(element_at<Output>(out, first), low, high);
  } else {
    V::template store_pair<Output>(element_at<Output>(out, first), low, high);
  }
}

/// Every line of the chunk that comes kPrefetchBytes later: eight rows that have left the caches are summed at 1.5 to
/// twice the rate of one line prefetched per chunk (Zen 4).
template <class V, DType Input>
void vector_prefetch_eight(const std::byte* chunk) noexcept {
  constexpr std::size_t kBytes = 8 * static_cast<std::size_t>(V::kWidth) * kElementBytes<Input>;
  for (std::size_t line = 0; line < kBytes; line += kCacheLineBytes) V::prefetch(chunk + V::kPrefetchBytes + line);
}

/// Eight vectors of elements from `first` on. The accumulators are named one by one: they stay in registers while the
/// rows pass, where compilers would keep an array of them in memory.
template <class V, DType Input, DType Output, Stores S, bool Weighted>
void vector_sum_eight(const Terms& terms, void* out, int first) noexcept {
  constexpr int kWidth = V::kWidth;
  typename V::Floats a0 = vector_start<V>(terms, first);
  typename V::Floats a1 = vector_start<V>(terms, first + kWidth);
  typename V::Floats a2 = vector_start<V>(terms, first + 2 * kWidth);
  typename V::Floats a3 = vector_start<V>(terms, first + 3 * kWidth);
  typename V::Floats a4 = vector_start<V>(terms, first + 4 * kWidth);
  typename V::Floats a5 = vector_start<V>(terms, first + 5 * kWidth);
  typename V::Floats a6 = vector_start<V>(terms, first + 6 * kWidth);
  typename V::Floats a7 = vector_start<V>(terms, first + 7 * kWidth);
  for (int r = 0; r < terms.count; ++r) {
    const std::byte* const row = element_at<Input>(terms.rows[r], first);
    vector_prefetch_eight<V, Input>(row);
    const typename V::Floats weight = V::broadcast(Weighted ? terms.weights[r] : 1.0F);
    a0 = vector_term<V, Input, Weighted>(a0, weight, row);
    a1 = vector_term<V, Input, Weighted>(a1, weight, element_at<Input>(row, kWidth));
    a2 = vector_term<V, Input, Weighted>(a2, weight, element_at<Input>(row, 2 * kWidth));
    a3 = vector_term<V, Input, Weighted>(a3, weight, element_at<Input>(row, 3 * kWidth));
    a4 = vector_term<V, Input, Weighted>(a4, weight, element_at<Input>(row, 4 * kWidth));
    a5 = vector_term<V, Input, Weighted>(a5, weight, element_at<Input>(row, 5 * kWidth));
    a6 = vector_term<V, Input, Weighted>(a6, weight, element_at<Input>(row, 6 * kWidth));
    a7 = vector_term<V, Input, Weighted>(a7, weight, element_at<Input>(row, 7 * kWidth));
  }
  vector_finish<V, Output, S>(out, first, a0, a1);
  vector_finish<V, Output, S>(out, first + 2 * kWidth, a2, a3);
  vector_finish<V, Output, S>(out, first + 4 * kWidth, a4, a5);
  vector_finish<V, Output, S>(out, first + 6 * kWidth, a6, a7);
}

/// Two vectors of elements from `first` on.
template <class V, DType Input, DType Output, bool Weighted>
void vector_sum_two(const Terms& terms, void* out, int first) noexcept {
  typename V::Floats low = vector_start<V>(terms, first);
  typename V::Floats high = vector_start<V>(terms, first + V::kWidth);
  for (int r = 0; r < terms.count; ++r) {
    const std::byte* const row = element_at<Input>(terms.rows[r], first);
    const typename V::Floats weight = V::broadcast(Weighted ? terms.weights[r] : 1.0F);
    low = vector_term<V, Input, Weighted>(low, weight, row);
    high = vector_term<V, Input, Weighted>(high, weight, element_at<Input>(row, V::kWidth));
  }
  vector_finish<V, Output, Stores::ordinary>(out, first, low, high);
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
  constexpr int kChunk = 8 * V::kWidth;
  int i = first;
  for (; i + kChunk <= hidden; i += kChunk) {
    vector_sum_eight<V, Input, Output, S, Weighted>(terms, out, i);
  }
  for (; i + 2 * V::kWidth <= hidden; i += 2 * V::kWidth) {
    vector_sum_two<V, Input, Output, Weighted>(terms, out, i);
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
