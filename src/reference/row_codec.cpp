// SPDX-License-Identifier: Apache-2.0
#include "reference/row_codec.hpp"

#include "reference/element.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace railyard::reference {
namespace {

DType element_of(Codec codec) {
  switch (codec) {
    case Codec::bf16:
      return DType::bf16;
    case Codec::fp16:
      return DType::fp16;
    case Codec::fp32:
      return DType::fp32;
    case Codec::fp8_e4m3:
    case Codec::fp8_e4m3_ue8m0:
      return DType::fp8_e4m3;
  }
  throw std::invalid_argument("encode_row: no such codec");
}

std::size_t blocks_of(int hidden) { return static_cast<std::size_t>((hidden + kBlock - 1) / kBlock); }

float absolute_maximum(const std::vector<float>& values, std::size_t first, std::size_t last) {
  float amax = 1e-4F;
  for (std::size_t i = first; i < last; ++i) {
    if (!std::isnan(values[i])) {
      amax = std::max(amax, std::fabs(values[i]));
    }
  }
  return amax;
}

void encode_block_fp32_scale(const std::vector<float>& values, std::size_t first, std::size_t last, std::size_t block,
                             EncodedRow& out) {
  const float amax = absolute_maximum(values, first, last);
  const float scale = amax * (1.0F / 448.0F);
  const float inverse = 448.0F / amax;
  std::memcpy(out.scales.data() + block * sizeof scale, &scale, sizeof scale);
  for (std::size_t i = first; i < last; ++i) {
    const float scaled = values[i] * inverse;
    out.row[i] = std::byte{encode_e4m3(static_cast<double>(scaled))};
  }
}

void encode_block_power_of_two_scale(const std::vector<float>& values, std::size_t first, std::size_t last,
                                     std::size_t block, EncodedRow& out) {
  const float scale = absolute_maximum(values, first, last) * (1.0F / 448.0F);
  int exponent = -127;
  while (exponent < 127 && std::ldexp(1.0, exponent) < static_cast<double>(scale)) {
    ++exponent;
  }
  out.scales[block] = static_cast<std::byte>(exponent + 127);
  for (std::size_t i = first; i < last; ++i) {
    out.row[i] = std::byte{encode_e4m3(std::ldexp(static_cast<double>(values[i]), -exponent))};
  }
}

}  // namespace

std::size_t row_bytes(Codec codec, int hidden) {
  return static_cast<std::size_t>(hidden) * bytes_of(element_of(codec));
}

std::size_t scale_bytes(Codec codec, int hidden) {
  if (codec == Codec::fp8_e4m3) {
    return blocks_of(hidden) * sizeof(float);
  }
  return codec == Codec::fp8_e4m3_ue8m0 ? blocks_of(hidden) : 0;
}

EncodedRow encode_row(Codec codec, DType input, const std::byte* x, int hidden) {
  if (input != DType::bf16 && input != DType::fp16 && input != DType::fp32) {
    throw std::invalid_argument("encode_row: the input is not bf16, fp16 or fp32");
  }
  const auto elements = static_cast<std::size_t>(hidden);
  std::vector<float> values(elements);
  for (std::size_t i = 0; i < elements; ++i) {
    values[i] = load(input, x + i * bytes_of(input));
  }
  EncodedRow out{std::vector<std::byte>(row_bytes(codec, hidden)), std::vector<std::byte>(scale_bytes(codec, hidden))};
  const DType element = element_of(codec);
  if (element == input) {
    std::memcpy(out.row.data(), x, out.row.size());
    return out;
  }
  if (element != DType::fp8_e4m3) {
    for (std::size_t i = 0; i < elements; ++i) {
      store(element, values[i], out.row.data() + i * bytes_of(element));
    }
    return out;
  }
  for (std::size_t block = 0; block < blocks_of(hidden); ++block) {
    const std::size_t first = block * kBlock;
    const std::size_t last = std::min(first + kBlock, elements);
    if (codec == Codec::fp8_e4m3) {
      encode_block_fp32_scale(values, first, last, block, out);
    } else {
      encode_block_power_of_two_scale(values, first, last, block, out);
    }
  }
  return out;
}

std::vector<float> decode_row(Codec codec, const std::byte* row, const std::byte* scales, int hidden) {
  const DType element = element_of(codec);
  std::vector<float> values(static_cast<std::size_t>(hidden));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load(element, row + i * bytes_of(element));
    const std::size_t block = i / kBlock;
    if (codec == Codec::fp8_e4m3) {
      values[i] *= load(DType::fp32, scales + block * sizeof(float));
    } else if (codec == Codec::fp8_e4m3_ue8m0) {
      const int code = std::to_integer<int>(scales[block]);
      values[i] *=
          code == 255 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(std::ldexp(1.0, code - 127));
    }
  }
  return values;
}

}  // namespace railyard::reference
