// SPDX-License-Identifier: Apache-2.0
// Element conversion of a row. Part of the vector kernels: see vector_kernels.hpp.
#pragma once

#include "codecs/vector_load.hpp"

#include <cstring>

namespace railyard::codecs {

/// Every element rounded once with canonical NaN, also when the types are the same.
template <class V, DType From, DType To>
void vector_round_elements(const void* source, void* destination, int hidden) noexcept {
  int i = 0;
  for (; i + 2 * V::kWidth <= hidden; i += 2 * V::kWidth) {
    V::template store_pair<To>(element_at<To>(destination, i), V::template load<From>(element_at<From>(source, i)),
                               V::template load<From>(element_at<From>(source, i + V::kWidth)));
  }
  for (; i < hidden; i += V::kWidth) {
    const int n = hidden - i < V::kWidth ? hidden - i : V::kWidth;
    store_part<V, To>(element_at<To>(destination, i), load_part<V, From>(element_at<From>(source, i), n), n);
  }
}

/// A copy when the types are the same.
template <class V, DType From, DType To>
void vector_convert(const void* source, void* destination, int hidden) noexcept {
  if constexpr (From == To) {
    std::memcpy(destination, source, static_cast<std::size_t>(hidden) * kElementBytes<To>);
  } else {
    vector_round_elements<V, From, To>(source, destination, hidden);
  }
}

}  // namespace railyard::codecs
