// SPDX-License-Identifier: Apache-2.0
// The wire slots of low-latency dispatch: private memory of the receiver, the second block of every heap.
//
//   slots [in flight][source][ordinal], each
//     header   token int32, 12 bytes unused
//     targets  [max_top_k] int32: local expert or -1; along a known route: row at the receiver or -1
//     weights  [max_top_k] fp32
//     row, scales
//
// `ordinal` counts the tokens that a source sends to this rank, in token order. Parts start at multiples of 16 bytes.
#pragma once

#include "routing/block_layout.hpp"

#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>

namespace railyard::low_latency {

struct WireLayout {
  int num_ranks = 0;
  std::int64_t max_tokens = 0;
  std::size_t targets_offset = 0;
  std::size_t weights_offset = 0;
  std::size_t row_offset = 0;
  std::size_t slot_bytes = 0;
  std::size_t bytes = 0;  // of all slots

  /// `row_dtype` is the widest element that the group's rows have.
  [[nodiscard]] static WireLayout of(int num_ranks, int num_slots, std::int64_t max_tokens, int max_top_k, int hidden,
                                     DType row_dtype);

  [[nodiscard]] std::byte* slot(std::byte* wire, int slot, int source, std::int64_t ordinal) const noexcept {
    const std::int64_t index = (std::int64_t{slot} * num_ranks + source) * max_tokens + ordinal;
    return wire + static_cast<std::size_t>(index) * slot_bytes;
  }
  [[nodiscard]] std::int32_t* targets(std::byte* slot) const noexcept {
    return reinterpret_cast<std::int32_t*>(slot + targets_offset);
  }
  [[nodiscard]] float* weights(std::byte* slot) const noexcept {
    return reinterpret_cast<float*>(slot + weights_offset);
  }
  [[nodiscard]] std::byte* row(std::byte* slot) const noexcept { return slot + row_offset; }
  [[nodiscard]] std::byte* scales(std::byte* slot, const routing::RowShape& shape) const noexcept {
    return slot + row_offset + shape.row_pitch;
  }
};

}  // namespace railyard::low_latency
