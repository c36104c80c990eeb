// SPDX-License-Identifier: Apache-2.0
#include <railyard/tensor.hpp>

#include "api/require.hpp"

#include <algorithm>

namespace railyard {
namespace {

// So that no product of sizes, strides and bytes of an element leaves 64 bits.
constexpr std::int64_t kMaxElements = std::int64_t{1} << 56;

}  // namespace

ConstTensorView::ConstTensorView(const void* data, DType dtype, std::initializer_list<std::int64_t> shape,
                                 Device device)
    : data_(data), dtype_(dtype), device_(device) {
  api::require(shape.size() >= 1 && shape.size() <= kMaxDimensions, "a tensor of {} dimensions; 1 to {} are supported",
               shape.size(), kMaxDimensions);
  for (const std::int64_t size : shape) {
    api::require(size >= 0, "dimension {} of a tensor is {}; at least 0", dimensions_, size);
    shape_[static_cast<std::size_t>(dimensions_++)] = size;
  }
  std::int64_t elements = 1;  // of the nonempty tensor with these sizes, where one is 0
  for (const std::int64_t size : shape) {
    api::require(std::max<std::int64_t>(size, 1) <= kMaxElements / elements,
                 "a tensor of {} x {} x {} elements; at most 2^56 are supported", shape_[0],
                 dimensions_ > 1 ? shape_[1] : 1, dimensions_ > 2 ? shape_[2] : 1);
    elements *= std::max<std::int64_t>(size, 1);
  }
  std::int64_t stride = 1;
  for (int dimension = dimensions_ - 1; dimension >= 0; --dimension) {
    strides_[static_cast<std::size_t>(dimension)] = stride;
    stride *= size(dimension);
  }
}

ConstTensorView ConstTensorView::rows(const void* data, DType dtype, std::int64_t rows, std::int64_t columns,
                                      std::int64_t row_stride, Device device) {
  return strided(data, dtype, {rows, columns}, {row_stride, 1}, device);
}

ConstTensorView ConstTensorView::strided(const void* data, DType dtype, std::initializer_list<std::int64_t> shape,
                                         std::initializer_list<std::int64_t> strides, Device device) {
  ConstTensorView view(data, dtype, shape, device);
  api::require(strides.size() == shape.size(), "a tensor of {} dimensions with {} strides", shape.size(),
               strides.size());
  std::size_t dimension = 0;
  for (const std::int64_t stride : strides) {
    const std::int64_t limit = kMaxElements / std::max<std::int64_t>(view.shape_[dimension], 1);
    api::require(stride >= -limit && stride <= limit, "stride {} of a tensor is {} with {} elements; at most {}",
                 dimension, stride, view.shape_[dimension], limit);
    view.strides_[dimension++] = stride;
  }
  return view;
}

TensorView TensorView::rows(void* data, DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                            Device device) {
  return strided(data, dtype, {rows, columns}, {row_stride, 1}, device);
}

TensorView TensorView::strided(void* data, DType dtype, std::initializer_list<std::int64_t> shape,
                               std::initializer_list<std::int64_t> strides, Device device) {
  TensorView view;
  static_cast<ConstTensorView&>(view) = ConstTensorView::strided(data, dtype, shape, strides, device);
  return view;
}

std::int64_t ConstTensorView::count() const noexcept {
  std::int64_t count = defined() ? 1 : 0;
  for (int dimension = 0; dimension < dimensions_; ++dimension) count *= size(dimension);
  return count;
}

bool ConstTensorView::contiguous() const noexcept {
  std::int64_t expected = 1;
  for (int dimension = dimensions_ - 1; dimension >= 0; --dimension) {
    if (size(dimension) == 0) return true;
    if (size(dimension) != 1 && stride(dimension) != expected) return false;
    expected *= size(dimension);
  }
  return true;
}

}  // namespace railyard
