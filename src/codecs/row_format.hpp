// SPDX-License-Identifier: Apache-2.0
// The bytes of one encoded row and of its scales, and their pitch in leases and wire slots.
#pragma once

#include <railyard/types.hpp>

#include <cstddef>

namespace railyard::codecs {

/// Rows and scale rows that the library places start at multiples of this.
inline constexpr std::size_t kPitchAlignment = 16;

struct RowFormat {
  Codec codec;
  int hidden;               // elements of a row
  int block;                // elements per scale; 0 without scales
  int num_scales;           // ceil(hidden / block); 0 without scales
  std::size_t row_bytes;    // payload
  std::size_t row_pitch;    // row_bytes rounded up to kPitchAlignment
  std::size_t scale_bytes;  // all scales of one row
  std::size_t scale_pitch;  // scale_bytes rounded up to kPitchAlignment

  /// Throws `Error{invalid_argument}` unless `hidden` is a positive multiple of 8.
  [[nodiscard]] static RowFormat of(Codec codec, int hidden);
  friend bool operator==(const RowFormat&, const RowFormat&) = default;
};

}  // namespace railyard::codecs
