// SPDX-License-Identifier: Apache-2.0
// The two blocks that a receiver grants: what rows say (payload) and where they come from (metadata).
//
//   payload    rows     [rows] row_pitch bytes
//              scales   [rows] scale_pitch bytes      if the rows have scales
//              weights  [rows, ids_per_row] fp32      if weights travel
//   metadata   origins  [rows] Origin
//              ids      [rows, ids_per_row] int32     unless the route comes from a mask
//
// `rows` is the capacity, times the local experts in expert_slots; ids_per_row is top_k in rank_major, else 1. Arrays
// start at multiples of 256 bytes. Every sender computes the same offsets from the grant.
#pragma once

#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace railyard::routing {

/// Bytes of one row on the wire and in leases; pitches are multiples of 16.
struct RowShape {
  DType dtype = DType::bf16;
  DType scale_dtype = DType::fp32;
  int num_scales = 0;  // 0: no scales
  std::size_t row_bytes = 0;
  std::size_t row_pitch = 0;
  std::size_t scale_bytes = 0;
  std::size_t scale_pitch = 0;

  /// Rows that travel in `codec`.
  [[nodiscard]] static RowShape of(Codec codec, int hidden);
  /// Rows copied exactly, with scales of `scale_dtype` if there are any.
  [[nodiscard]] static RowShape exact(DType dtype, int hidden, std::optional<DType> scale_dtype);
};

struct PayloadLayout {
  std::size_t rows_offset = 0;
  std::size_t scales_offset = 0;
  std::size_t weights_offset = 0;
  std::size_t bytes = 0;

  [[nodiscard]] static PayloadLayout of(std::int64_t rows, const RowShape& shape, int weights_per_row);
};

struct MetadataLayout {
  std::size_t origins_offset = 0;
  std::size_t ids_offset = 0;
  std::size_t bytes = 0;

  [[nodiscard]] static MetadataLayout of(std::int64_t rows, int ids_per_row);
};

/// RouteOptions::capacity when it is 0.
[[nodiscard]] std::int64_t default_capacity(Layout layout, int num_ranks, std::int64_t max_tokens, int top_k,
                                            int local_experts, int alignment);

}  // namespace railyard::routing
