// SPDX-License-Identifier: Apache-2.0
#include "routing/block_layout.hpp"

#include "codecs/row_format.hpp"

#include <railyard/route.hpp>

#include <algorithm>

namespace railyard::routing {
namespace {

constexpr std::size_t kArrayAlignment = 256;

std::size_t round_up(std::size_t value, std::size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

std::size_t append(std::size_t& end, std::int64_t rows, std::size_t bytes_per_row) {
  const std::size_t offset = end;
  end = round_up(end + static_cast<std::size_t>(rows) * bytes_per_row, kArrayAlignment);
  return offset;
}

}  // namespace

RowShape RowShape::of(Codec codec, int hidden) {
  const codecs::RowFormat format = codecs::RowFormat::of(codec, hidden);
  return {.dtype = element_type(codec),
          .scale_dtype = scale_type(codec),
          .num_scales = format.num_scales,
          .row_bytes = format.row_bytes,
          .row_pitch = format.row_pitch,
          .scale_bytes = format.scale_bytes,
          .scale_pitch = format.scale_pitch};
}

RowShape RowShape::exact(DType dtype, int hidden, std::optional<DType> scale_dtype) {
  RowShape shape;
  shape.dtype = dtype;
  shape.row_bytes = static_cast<std::size_t>(hidden) * size_of(dtype);
  shape.row_pitch = round_up(shape.row_bytes, codecs::kPitchAlignment);
  if (scale_dtype) {
    shape.scale_dtype = *scale_dtype;
    shape.num_scales = (hidden + block_size(Codec::fp8_e4m3) - 1) / block_size(Codec::fp8_e4m3);
    shape.scale_bytes = static_cast<std::size_t>(shape.num_scales) * size_of(*scale_dtype);
    shape.scale_pitch = round_up(shape.scale_bytes, codecs::kPitchAlignment);
  }
  return shape;
}

PayloadLayout PayloadLayout::of(std::int64_t rows, const RowShape& shape, int weights_per_row) {
  PayloadLayout layout;
  layout.rows_offset = append(layout.bytes, rows, shape.row_pitch);
  layout.scales_offset = append(layout.bytes, rows, shape.scale_pitch);
  layout.weights_offset = append(layout.bytes, rows, static_cast<std::size_t>(weights_per_row) * sizeof(float));
  return layout;
}

MetadataLayout MetadataLayout::of(std::int64_t rows, int ids_per_row) {
  MetadataLayout layout;
  layout.origins_offset = append(layout.bytes, rows, sizeof(Origin));
  layout.ids_offset = append(layout.bytes, rows, static_cast<std::size_t>(ids_per_row) * sizeof(std::int32_t));
  return layout;
}

std::int64_t default_capacity(Layout layout, int num_ranks, std::int64_t max_tokens, int top_k, int local_experts,
                              int alignment) {
  const std::int64_t tokens = num_ranks * max_tokens;
  if (layout != Layout::expert_major) return tokens;
  const std::int64_t rows = tokens * std::min(top_k, local_experts) + std::int64_t{alignment - 1} * local_experts;
  return (rows + alignment - 1) / alignment * alignment;
}

}  // namespace railyard::routing
