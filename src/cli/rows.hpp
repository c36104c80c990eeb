// SPDX-License-Identifier: Apache-2.0
// Rows of a tensor by their flat index: the row itself, or in `[local experts, capacity, columns]` the index
// expert * capacity + slot.
#pragma once

#include <railyard/tensor.hpp>

#include <cstddef>
#include <cstdint>

namespace railyard::cli {

/// Rows of a view with one to three dimensions; with one dimension, its elements.
[[nodiscard]] inline std::int64_t num_flat_rows(const ConstTensorView& view, bool has_columns = true) {
  const int leading = view.dimensions() - (has_columns ? 1 : 0);
  std::int64_t rows = 1;
  for (int dimension = 0; dimension < leading; ++dimension) {
    rows *= view.size(dimension);
  }
  return rows;
}

/// The first byte of flat row `row` of `[rows, columns]` or `[experts, capacity, columns]`.
[[nodiscard]] inline const std::byte* flat_row(const ConstTensorView& view, std::int64_t row) {
  const std::int64_t element = view.dimensions() == 3
                                   ? row / view.size(1) * view.stride(0) + row % view.size(1) * view.stride(1)
                                   : row * view.stride(0);
  return static_cast<const std::byte*>(view.data()) + static_cast<std::size_t>(element) * size_of(view.dtype());
}

[[nodiscard]] inline std::byte* flat_row(const TensorView& view, std::int64_t row) {
  return const_cast<std::byte*>(flat_row(static_cast<const ConstTensorView&>(view), row));
}

/// Flat row `row` as elements; the view's element type must have the size of Value.
template <typename Value>
[[nodiscard]] const Value* row_as(const ConstTensorView& view, std::int64_t row) {
  return static_cast<const Value*>(static_cast<const void*>(flat_row(view, row)));
}

template <typename Value>
[[nodiscard]] Value* row_as(const TensorView& view, std::int64_t row) {
  return static_cast<Value*>(static_cast<void*>(flat_row(view, row)));
}

}  // namespace railyard::cli
