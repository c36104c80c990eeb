// SPDX-License-Identifier: Apache-2.0
#include "transports/row_writer.hpp"

#include <algorithm>
#include <cstring>

namespace railyard::transports {

void RowWriter::begin(const DispatchOperation& operation) {
  const DispatchRequest& call = operation.request;
  operation_ = &operation;
  hidden_ = static_cast<int>(call.x.size(1));
  x_ = static_cast<const std::byte*>(call.x.data());
  x_stride_ = static_cast<std::size_t>(call.x.stride(0)) * size_of(call.x.dtype());
  // Encoding to the rows' own type is a copy.
  const bool encodes = call.codec && element_type(*call.codec) != call.x.dtype();
  encode_ = encodes ? codecs::encoder(*call.codec, call.x.dtype()) : nullptr;
  encoded_row_.resize(operation.shape.row_pitch);
  encoded_scales_.resize(operation.shape.scale_pitch);
}

void RowWriter::write(std::int64_t token, const RowPlaces& places) {
  const routing::RowShape& shape = operation_->shape;
  const std::byte* const source = x_ + static_cast<std::size_t>(token) * x_stride_;
  const auto& [cached, streamed] = places.rows;
  if (encode_) {
    if (places.scales.size() == 1) {
      return encode_(source, cached.empty() ? streamed[0] : cached[0], places.scales[0], hidden_);
    }
    encode_(source, encoded_row_.data(), encoded_scales_.data(), hidden_);
    codecs::copy_row_to(places.rows, encoded_row_.data(), shape.row_bytes);
    return write_scales(places.scales, encoded_scales_.data());
  }
  codecs::copy_row_to(places.rows, source, shape.row_bytes);
  if (shape.num_scales == 0) return;
  const ConstTensorView& given = operation_->request.scales;  // any strides: gathered element by element
  const std::size_t element = size_of(shape.scale_dtype);
  const std::byte* const first =
      static_cast<const std::byte*>(given.data()) + static_cast<std::size_t>(token * given.stride(0)) * element;
  if (given.stride(1) == 1) return write_scales(places.scales, first);
  const std::size_t step = static_cast<std::size_t>(given.stride(1)) * element;
  for (std::size_t index = 0; index < static_cast<std::size_t>(shape.num_scales); ++index) {
    std::memcpy(encoded_scales_.data() + index * element, first + index * step, element);
  }
  write_scales(places.scales, encoded_scales_.data());
}

void RowWriter::write_scales(std::span<void* const> places, const std::byte* source) const {
  if (operation_->shape.num_scales == 0) return;
  codecs::copy_row_to({.cached = places, .streamed = {}}, source, operation_->shape.scale_bytes);
}

void write_metadata(const DispatchOperation& operation, const PlacedRow& placed) {
  const Grant& grant = *placed.grant;
  const auto row = static_cast<std::size_t>(placed.row);
  const auto per_row = static_cast<std::size_t>(operation.ids_per_row);
  reinterpret_cast<Origin*>(grant.metadata + grant.metadata_layout.origins_offset)[row] = placed.origin;
  if (per_row == 0) return;  // the route comes from a mask
  auto* const ids = reinterpret_cast<std::int32_t*>(grant.metadata + grant.metadata_layout.ids_offset) + row * per_row;
  if (operation.descriptor.layout == Layout::rank_major) {
    std::copy_n(placed.local_ids, per_row, ids);
  } else {
    *ids = placed.local_ids[placed.origin.k];
  }
}

void write_weights(const DispatchOperation& operation, const PlacedRow& placed, const float* weights) {
  const Grant& grant = *placed.grant;
  const auto per_row = static_cast<std::size_t>(operation.ids_per_row);
  auto* const row_weights = reinterpret_cast<float*>(grant.payload + grant.payload_layout.weights_offset) +
                            static_cast<std::size_t>(placed.row) * per_row;
  if (operation.descriptor.layout == Layout::rank_major) {
    for (std::size_t k = 0; k < per_row; ++k) row_weights[k] = placed.local_ids[k] >= 0 ? weights[k] : 0.0F;
  } else {
    *row_weights = weights[placed.origin.k];
  }
}

}  // namespace railyard::transports
