// SPDX-License-Identifier: Apache-2.0
#include "low_latency/wire_layout.hpp"

namespace railyard::low_latency {
namespace {

std::size_t round_up(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

}  // namespace

WireLayout WireLayout::of(int num_ranks, int num_slots, std::int64_t max_tokens, int max_top_k, int hidden,
                          DType row_dtype) {
  const std::size_t values = round_up(static_cast<std::size_t>(max_top_k) * sizeof(std::int32_t));
  const routing::RowShape widest = routing::RowShape::exact(row_dtype, hidden, DType::fp32);
  WireLayout layout;
  layout.num_ranks = num_ranks;
  layout.max_tokens = max_tokens;
  layout.targets_offset = 16;
  layout.weights_offset = layout.targets_offset + values;
  layout.row_offset = layout.weights_offset + values;
  layout.slot_bytes = layout.row_offset + widest.row_pitch + widest.scale_pitch;
  layout.bytes = static_cast<std::size_t>(num_slots) * static_cast<std::size_t>(num_ranks) *
                 static_cast<std::size_t>(max_tokens) * layout.slot_bytes;
  return layout;
}

}  // namespace railyard::low_latency
