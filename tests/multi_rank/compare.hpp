// SPDX-License-Identifier: Apache-2.0
// Backend = reference: everything that a route or a dispatch shows, bit for bit.
#pragma once

#include "multi_rank/report.hpp"
#include "reference/reference.hpp"

#include <railyard/dispatch.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace railyard::multi_rank {

/// A stretch of a rank's heap that was filled with `value` before an operation.
struct Poison {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::byte value{0xC3};
};

/// What the packed payload is, from the options of the dispatch.
struct PayloadFormat {
  DType rows = DType::bf16;
  std::optional<DType> scales;
  int hidden = 0;
  bool weights = false;
};

/// For heap_exhausted the reference knows no bytes: `needed` must exceed `capacity`.
void compare_status(const Place& place, const Status& expected, const Status& got);

/// Counts, offsets, ids and origins at `rank`.
void compare_route(const Place& place, const reference::Result& expected, int rank, const Route& got);

/// Shapes, strides, rows, scales and weights at `rank`. Rows that the reference leaves untouched must still hold the
/// poison when the tensor lies in it. Returns the number of rows that were looked at in this way.
std::int64_t compare_dispatched(const Place& place, const reference::Result& expected, int rank,
                                const PayloadFormat& format, const Poison& poison, const Dispatched& got);

}  // namespace railyard::multi_rank
