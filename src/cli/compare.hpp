// SPDX-License-Identifier: Apache-2.0
// What an operation delivered, held against the reference, bit for bit.
#pragma once

#include "reference/reference.hpp"

#include <railyard/dispatch.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace railyard::cli {

/// How many things were compared, how many differed, and what the first difference was.
struct Comparison {
  std::int64_t compared = 0;
  std::int64_t different = 0;
  std::string first_difference;

  [[nodiscard]] bool equal() const { return different == 0; }
  /// Counts one comparison; `what` is called only for the first difference.
  template <typename What>
  void count(bool same, const What& what) {
    ++compared;
    if (!same && different++ == 0) {
      first_difference = what();
    }
  }
  void add(const Comparison& other);
};

/// What a dispatch delivered, where the host reads it: the operation's own tensors, or copies of a device's.
struct Delivery {
  ConstTensorView rows;
  ConstTensorView scales;
  ConstTensorView weights;
  ConstTensorView expert_ids;
  ConstTensorView origins;
  Route route;  // for its counts and offsets

  /// On the host: views of the tensors, which must live as long.
  [[nodiscard]] static Delivery of(const Dispatched& received);
};

/// Everything that `rank` received: every flat row with its payload, scales, ids, weights and origin as one thing,
/// then the counts and offsets. Rows that the reference leaves untouched are compared without their payload.
[[nodiscard]] Comparison compare_dispatch(int rank, const Delivery& received, const reference::Delivered& expected);

/// Rows of `row_bytes`, one thing each.
[[nodiscard]] Comparison compare_output(int rank, std::span<const std::byte> output,
                                        std::span<const std::byte> expected, std::size_t row_bytes);

}  // namespace railyard::cli
