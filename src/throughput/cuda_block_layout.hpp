// SPDX-License-Identifier: Apache-2.0
// The two blocks that a CUDA receiver grants, rank_major. Host and device compute the same offsets from the capacity.
//
//   payload    rows           [capacity] row_pitch bytes
//              scales         [capacity] scale_pitch bytes     if the rows have scales
//              weights        [capacity, top_k] fp32           if weights travel
//   metadata   expert_counts  [max_local_experts] int32        entries delivered per local expert; senders add to it
//              origins        [capacity] Origin, 8 bytes
//              ids            [capacity, top_k] int32          local expert ids, -1 for entries on other ranks
//
// Arrays start at multiples of 256 bytes; so must the blocks. `max_local_experts` is the largest of all ranks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

inline constexpr std::size_t kCudaArrayAlignment = 256;

[[nodiscard]] constexpr std::size_t round_up_bytes(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Bytes of one row as it travels and lies in the payload block; scale bytes are 0 without scales.
struct CudaRowShape {
  std::size_t row_bytes = 0;
  std::size_t row_pitch = 0;  // row_bytes rounded up to 16
  std::size_t scale_bytes = 0;
  std::size_t scale_pitch = 0;  // scale_bytes rounded up to 16

  [[nodiscard]] static constexpr CudaRowShape of(std::size_t row_bytes, std::size_t scale_bytes) {
    return {row_bytes, round_up_bytes(row_bytes, 16), scale_bytes, round_up_bytes(scale_bytes, 16)};
  }
};

struct CudaPayloadLayout {
  std::size_t rows = 0;  // offsets from the start of the block
  std::size_t scales = 0;
  std::size_t weights = 0;
  std::size_t bytes = 0;

  /// `weights_per_row` is top_k, or 0.
  [[nodiscard]] static constexpr CudaPayloadLayout of(std::int64_t capacity, const CudaRowShape& shape,
                                                      int weights_per_row) {
    const auto rows = static_cast<std::size_t>(capacity);
    CudaPayloadLayout layout;
    layout.scales = round_up_bytes(rows * shape.row_pitch, kCudaArrayAlignment);
    layout.weights = layout.scales + round_up_bytes(rows * shape.scale_pitch, kCudaArrayAlignment);
    layout.bytes = layout.weights + round_up_bytes(rows * static_cast<std::size_t>(weights_per_row) * sizeof(float),
                                                   kCudaArrayAlignment);
    return layout;
  }
};

struct CudaMetadataLayout {
  std::size_t expert_counts = 0;
  std::size_t origins = 0;
  std::size_t ids = 0;
  std::size_t bytes = 0;

  [[nodiscard]] static constexpr CudaMetadataLayout of(std::int64_t capacity, int top_k, int max_local_experts) {
    const auto rows = static_cast<std::size_t>(capacity);
    CudaMetadataLayout layout;
    layout.origins =
        round_up_bytes(static_cast<std::size_t>(max_local_experts) * sizeof(std::int32_t), kCudaArrayAlignment);
    layout.ids = layout.origins + round_up_bytes(rows * 8, kCudaArrayAlignment);
    layout.bytes =
        layout.ids + round_up_bytes(rows * static_cast<std::size_t>(top_k) * sizeof(std::int32_t), kCudaArrayAlignment);
    return layout;
  }
};

}  // namespace railyard::throughput
