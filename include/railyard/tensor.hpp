// SPDX-License-Identifier: Apache-2.0
// Tensor views without a framework, and tensors that hold a lease on a block of a group's heap.
#pragma once

#include <railyard/export.hpp>
#include <railyard/lease.hpp>
#include <railyard/types.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace railyard {

/// Most dimensions that a view has.
inline constexpr int kMaxDimensions = 3;

/// Describes memory that someone else owns. `strides` count elements. A view with no dimensions is *undefined*
/// (an optional argument left out); a view of zero elements may have a null pointer and still is defined.
class ConstTensorView {
 public:
  constexpr ConstTensorView() = default;
  /// A contiguous (row-major) tensor. Throws RY-INVALID-ARGUMENT for a negative size, more than three dimensions, or
  /// more than 2^56 elements (also from the first to the last, with strides).
  RAILYARD_API ConstTensorView(const void* data, DType dtype, std::initializer_list<std::int64_t> shape,
                               Device device = {});
  /// Rows of `columns` elements, `row_stride` elements apart.
  [[nodiscard]] RAILYARD_API static ConstTensorView rows(const void* data, DType dtype, std::int64_t rows,
                                                         std::int64_t columns, std::int64_t row_stride,
                                                         Device device = {});
  /// Any strides, in elements; as many of them as dimensions.
  [[nodiscard]] RAILYARD_API static ConstTensorView strided(const void* data, DType dtype,
                                                            std::initializer_list<std::int64_t> shape,
                                                            std::initializer_list<std::int64_t> strides,
                                                            Device device = {});

  [[nodiscard]] bool defined() const noexcept { return dimensions_ > 0; }
  [[nodiscard]] const void* data() const noexcept { return data_; }
  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] Device device() const noexcept { return device_; }
  [[nodiscard]] int dimensions() const noexcept { return dimensions_; }
  [[nodiscard]] std::int64_t size(int dimension) const noexcept { return shape_[static_cast<std::size_t>(dimension)]; }
  [[nodiscard]] std::int64_t stride(int dimension) const noexcept {
    return strides_[static_cast<std::size_t>(dimension)];
  }
  /// Elements in all.
  [[nodiscard]] RAILYARD_API std::int64_t count() const noexcept;
  [[nodiscard]] RAILYARD_API bool contiguous() const noexcept;

  /// The elements of a contiguous host tensor. `T` must have the element's size; checked in debug builds only.
  template <typename T>
  [[nodiscard]] std::span<const T> as() const noexcept {
    return {static_cast<const T*>(data_), static_cast<std::size_t>(count())};
  }

 protected:
  const void* data_ = nullptr;
  DType dtype_ = DType::uint8;
  Device device_{};
  int dimensions_ = 0;
  std::array<std::int64_t, kMaxDimensions> shape_{};
  std::array<std::int64_t, kMaxDimensions> strides_{};
};

/// The same, of memory that may be written.
class TensorView : public ConstTensorView {
 public:
  constexpr TensorView() = default;
  TensorView(void* data, DType dtype, std::initializer_list<std::int64_t> shape, Device device = {})
      : ConstTensorView(data, dtype, shape, device) {}
  [[nodiscard]] RAILYARD_API static TensorView rows(void* data, DType dtype, std::int64_t rows, std::int64_t columns,
                                                    std::int64_t row_stride, Device device = {});
  [[nodiscard]] RAILYARD_API static TensorView strided(void* data, DType dtype,
                                                       std::initializer_list<std::int64_t> shape,
                                                       std::initializer_list<std::int64_t> strides, Device device = {});

  [[nodiscard]] void* data() const noexcept { return const_cast<void*>(data_); }
  template <typename T>
  [[nodiscard]] std::span<T> as() const noexcept {
    return {static_cast<T*>(data()), static_cast<std::size_t>(count())};
  }
};

/// A tensor in a group's heap. Copies share the lease; the bytes return to the heap when the last copy is gone.
class Tensor : public TensorView {
 public:
  Tensor() = default;
  Tensor(TensorView view, Lease lease) : TensorView(view), lease_(static_cast<Lease&&>(lease)) {}
  [[nodiscard]] const Lease& lease() const noexcept { return lease_; }

 private:
  Lease lease_;
};

}  // namespace railyard
