// SPDX-License-Identifier: Apache-2.0
#include "codecs/row_format.hpp"

#include <railyard/error.hpp>

#include <string>

namespace railyard::codecs {
namespace {

constexpr std::size_t pitch_of(std::size_t bytes) {
  return (bytes + kPitchAlignment - 1) / kPitchAlignment * kPitchAlignment;
}

}  // namespace

RowFormat RowFormat::of(Codec codec, int hidden) {
  if (hidden <= 0 || hidden % 8 != 0) {
    throw Error(ErrorCode::invalid_argument,
                "hidden is " + std::to_string(hidden) + "; it must be a positive multiple of 8");
  }
  const int block = block_size(codec);
  const int num_scales = block == 0 ? 0 : (hidden - 1) / block + 1;
  const std::size_t row_bytes = static_cast<std::size_t>(hidden) * size_of(element_type(codec));
  const std::size_t scale_bytes = block == 0 ? 0 : static_cast<std::size_t>(num_scales) * size_of(scale_type(codec));
  return {.codec = codec,
          .hidden = hidden,
          .block = block,
          .num_scales = num_scales,
          .row_bytes = row_bytes,
          .row_pitch = pitch_of(row_bytes),
          .scale_bytes = scale_bytes,
          .scale_pitch = pitch_of(scale_bytes)};
}

}  // namespace railyard::codecs
