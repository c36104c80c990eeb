// SPDX-License-Identifier: Apache-2.0
// Brings one token's row, scales and metadata to their places.
#pragma once

#include "codecs/codec.hpp"
#include "codecs/copy.hpp"
#include "transports/dispatch_operation.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace railyard::transports {

/// Where one token's row and its scales go; as many of each.
struct RowPlaces {
  codecs::Destinations rows;
  std::span<void* const> scales;
};

/// The rows of one operation. Those of one `write` are read once, encoded once, and stored to every destination. Who
/// has streamed rows fences before it signals.
class RowWriter {
 public:
  /// Prepares for `operation`; reuses memory from call to call.
  void begin(const DispatchOperation& operation);
  void write(std::int64_t token, const RowPlaces& places);
  /// Whether the rows of the operation are: others are copied.
  [[nodiscard]] bool encodes() const noexcept { return encode_ != nullptr; }

 private:
  void write_scales(std::span<void* const> places, const std::byte* source) const;

  const DispatchOperation* operation_ = nullptr;
  codecs::EncodeRow encode_ = nullptr;
  int hidden_ = 0;
  const std::byte* x_ = nullptr;
  std::size_t x_stride_ = 0;
  std::vector<std::byte> encoded_row_;
  std::vector<std::byte> encoded_scales_;
};

/// One row at a destination, with what its metadata says.
struct PlacedRow {
  const Grant* grant = nullptr;
  std::int64_t row = 0;
  Origin origin;
  const std::int32_t* local_ids = nullptr;  // the token's `[top_k]`, -1 on other ranks; null for masks
};

/// Origin and local ids of a row: all of the token's in rank_major, else the one of `origin.k`.
void write_metadata(const DispatchOperation& operation, const PlacedRow& placed);

/// Weights of a row; `weights` are the token's `[top_k]`.
void write_weights(const DispatchOperation& operation, const PlacedRow& placed, const float* weights);

}  // namespace railyard::transports
