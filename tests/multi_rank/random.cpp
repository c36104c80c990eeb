// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/random.hpp"

#include <bit>
#include <cmath>
#include <cstring>

namespace railyard::multi_rank {
namespace {

enum class Style : std::uint8_t { ordinary, zeros, tiny, huge, bits };

Style random_style(Random& random) {
  const std::int64_t draw = random.below(100);
  if (draw < 84) {
    return Style::ordinary;
  }
  return draw < 87 ? Style::zeros : draw < 91 ? Style::tiny : draw < 95 ? Style::huge : Style::bits;
}

float random_value(Random& random, Style style) {
  const float sign = random.chance(50) ? -1.0F : 1.0F;
  switch (style) {
    case Style::zeros:
      return sign * 0.0F;
    case Style::tiny:
      return sign * std::ldexp(static_cast<float>(random.unit()), static_cast<int>(random.between(-149, -100)));
    case Style::huge:
      return sign * std::ldexp(static_cast<float>(1.0 + random.unit()), static_cast<int>(random.between(10, 127)));
    case Style::bits:
      return std::bit_cast<float>(static_cast<std::uint32_t>(random.bits()));
    case Style::ordinary:
      break;
  }
  return sign * std::ldexp(static_cast<float>(1.0 + random.unit()), static_cast<int>(random.between(-6, 4)));
}

/// Infinities, NaN, the largest and the smallest numbers, which random bits rarely make.
void write_special(Random& random, DType dtype, std::byte* element) {
  const std::uint64_t sign = random.bits() & 1U;
  std::uint64_t bits = 0;
  switch (dtype) {
    case DType::bf16:
      bits = random.one_of<std::uint64_t>({0x7F80, 0x7FC1, 0x7F81, 0x7F7F, 1, 0}) | sign << 15;
      break;
    case DType::fp16:
      bits = random.one_of<std::uint64_t>({0x7C00, 0x7E01, 0x7C01, 0x7BFF, 1, 0}) | sign << 15;
      break;
    case DType::fp32:
      bits = random.one_of<std::uint64_t>({0x7F800000, 0x7FC00001, 0x7F800001, 0x7F7FFFFF, 1, 0}) | sign << 31;
      break;
    default:
      bits = random.one_of<std::uint64_t>({0x7F, 0x7E, 1, 0}) | sign << 7;
      break;
  }
  std::memcpy(element, &bits, size_of(dtype));
}

/// Truncation is enough here: any value will do, as long as every pattern can appear.
std::uint16_t to_half_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const int exponent = static_cast<int>((bits >> 23) & 0xFFU) - 127 + 15;
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t mantissa = (bits >> 13) & 0x3FFU;
  if (exponent <= 0) {
    return static_cast<std::uint16_t>(sign | (exponent < -10 ? 0U : mantissa >> 1));
  }
  return static_cast<std::uint16_t>(
      sign | (exponent >= 31 ? 0x7BFFU : (static_cast<std::uint32_t>(exponent) << 10) | mantissa));
}

}  // namespace

std::vector<std::byte> random_rows(Random& random, DType dtype, std::int64_t rows, std::int64_t columns) {
  const std::size_t size = size_of(dtype);
  std::vector<std::byte> packed(static_cast<std::size_t>(rows * columns) * size);
  std::byte* next = packed.data();
  for (std::int64_t row = 0; row < rows; ++row) {
    const Style style = random_style(random);
    for (std::int64_t column = 0; column < columns; ++column, next += size) {
      if (style == Style::bits && random.chance(10)) {
        write_special(random, dtype, next);
        continue;
      }
      if (style == Style::bits || (dtype != DType::bf16 && dtype != DType::fp16 && dtype != DType::fp32)) {
        const std::uint64_t bits = random.bits();
        std::memcpy(next, &bits, size);
        continue;
      }
      const float value = random_value(random, style);
      if (dtype == DType::fp32) {
        std::memcpy(next, &value, size);
      } else {
        const auto half = dtype == DType::fp16 ? to_half_bits(value)
                                               : static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
        std::memcpy(next, &half, size);
      }
    }
  }
  return packed;
}

std::vector<float> random_weights(Random& random, std::int64_t count) {
  std::vector<float> weights(static_cast<std::size_t>(count));
  for (float& weight : weights) {
    const std::int64_t draw = random.below(100);
    weight =
        draw < 94 ? static_cast<float>(random.unit()) : random_value(random, draw < 98 ? Style::ordinary : Style::bits);
  }
  return weights;
}

}  // namespace railyard::multi_rank
