// SPDX-License-Identifier: Apache-2.0
// What ranks must agree on when they start one operation together.
#pragma once

#include <railyard/types.hpp>

#include <cstdint>
#include <string>

namespace railyard::transports {

enum class Operation : std::uint8_t { route, route_from_mask, dispatch, routed_dispatch, combine };

[[nodiscard]] std::string_view name(Operation operation) noexcept;

/// Travels with every notice, so that a rank that called something else is found before a row is written.
struct Descriptor {
  Operation operation = Operation::dispatch;
  Layout layout = Layout::rank_major;
  DType row_dtype = DType::bf16;     // of the rows on the wire
  DType scale_dtype = DType::uint8;  // with has_scales
  bool has_scales = false;
  bool has_weights = false;
  std::uint16_t top_k = 0;
  std::uint32_t alignment = 1;
  std::uint64_t route_id = 0;  // of the route used or made: counts the group's routes
  // With RAILYARD_DEBUG=1 only: arguments that may differ without harm, but rarely on purpose.
  bool compares_all = false;
  Tail tail = Tail::untouched;
  std::int64_t capacity = 0;

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

/// For errors: "dispatch(layout=rank_major, row_dtype=bf16, ...)".
[[nodiscard]] std::string describe(const Descriptor& descriptor);

}  // namespace railyard::transports
