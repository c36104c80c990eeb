// SPDX-License-Identifier: Apache-2.0
#include "reference/element.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace railyard::reference {
namespace {

// An IEEE-like format: value = (-1)^sign * 1.mantissa * 2^(exponent - bias); exponent 0 has 0.mantissa * 2^(1 - bias).
struct Format {
  int mantissa_bits;
  int min_exponent;  // 1 - bias: of the smallest normal numbers, and of all subnormal ones
  int max_exponent;
};
constexpr Format kFp16{10, -14, 15};
constexpr Format kBf16{7, -126, 127};

double magnitude_of(unsigned exponent_field, unsigned mantissa, int mantissa_bits, int min_exponent) {
  if (exponent_field == 0) {
    return std::ldexp(static_cast<double>(mantissa), min_exponent - mantissa_bits);
  }
  const double significand = static_cast<double>(mantissa) + std::ldexp(1.0, mantissa_bits);
  return std::ldexp(significand, static_cast<int>(exponent_field) - 1 + min_exponent - mantissa_bits);
}

// The whole number nearest to a non-negative one, ties to even, whatever the rounding mode.
double round_half_even(double value) {
  const double below = std::floor(value);
  const double rest = value - below;
  if (rest > 0.5 || (rest == 0.5 && std::fmod(below, 2.0) == 1.0)) {
    return below + 1.0;
  }
  return below;
}

std::uint16_t encode_16_bits(float value, const Format& format) {
  if (std::isnan(value)) {
    return 0x7FFF;
  }
  const unsigned sign = std::signbit(value) ? 0x8000U : 0U;
  const unsigned infinity = static_cast<unsigned>(format.max_exponent - format.min_exponent + 2)
                            << format.mantissa_bits;
  if (std::isinf(value)) {
    return static_cast<std::uint16_t>(sign | infinity);
  }
  // Around the value, the format's numbers are whole multiples of a step.
  const double magnitude = std::fabs(static_cast<double>(value));
  const int exponent = magnitude == 0.0 ? format.min_exponent : std::max(std::ilogb(magnitude), format.min_exponent);
  const double step = std::ldexp(1.0, exponent - format.mantissa_bits);
  const double rounded = round_half_even(magnitude / step);
  // Codes of ascending numbers ascend by one, from 0 for zero; each exponent after the first has 2^mantissa_bits of
  // them.
  const unsigned code =
      (static_cast<unsigned>(exponent - format.min_exponent) << format.mantissa_bits) + static_cast<unsigned>(rounded);
  return static_cast<std::uint16_t>(sign | std::min(code, infinity));
}

std::array<double, 127> e4m3_magnitudes() {
  std::array<double, 127> magnitudes{};
  for (unsigned code = 0; code < 127; ++code) {
    magnitudes[code] = magnitude_of(code >> 3U, code & 7U, 3, -6);
  }
  return magnitudes;
}

}  // namespace

std::size_t bytes_of(DType dtype) {
  switch (dtype) {
    case DType::fp8_e4m3:
    case DType::uint8:
      return 1;
    case DType::bf16:
    case DType::fp16:
      return 2;
    case DType::fp32:
    case DType::int32:
      return 4;
    case DType::int64:
      return 8;
  }
  throw std::invalid_argument("bytes_of: no such element type");
}

float decode_fp16(std::uint16_t code) {
  const unsigned exponent = (code >> 10U) & 31U;
  const unsigned mantissa = code & 1023U;
  const float sign = (code & 0x8000U) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  }
  return sign * static_cast<float>(magnitude_of(exponent, mantissa, kFp16.mantissa_bits, kFp16.min_exponent));
}

float decode_e4m3(std::uint8_t code) {
  const unsigned magnitude = code & 0x7FU;
  const float sign = (code & 0x80U) != 0 ? -1.0F : 1.0F;
  if (magnitude == 0x7F) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  return sign * static_cast<float>(magnitude_of(magnitude >> 3U, magnitude & 7U, 3, -6));
}

std::uint16_t encode_bf16(float value) { return encode_16_bits(value, kBf16); }
std::uint16_t encode_fp16(float value) { return encode_16_bits(value, kFp16); }

std::uint8_t encode_e4m3(double value) {
  if (std::isnan(value)) {
    return 0x7F;
  }
  static const std::array<double, 127> kMagnitudes = e4m3_magnitudes();
  const double magnitude = std::fabs(value);
  // The neighbours: the first number at or above, and the one before it.
  const auto above = std::lower_bound(kMagnitudes.begin(), kMagnitudes.end(), magnitude);
  auto nearest = static_cast<unsigned>(above - kMagnitudes.begin());
  if (above == kMagnitudes.end()) {
    nearest = 126;  // 448
  } else if (nearest > 0) {
    const double to_above = *above - magnitude;
    const double to_below = magnitude - kMagnitudes[nearest - 1];
    if (to_below < to_above || (to_below == to_above && nearest % 2 == 1)) {
      --nearest;
    }
  }
  return static_cast<std::uint8_t>((std::signbit(value) ? 0x80U : 0U) | nearest);
}

float load(DType dtype, const std::byte* element) {
  if (dtype == DType::fp32) {
    float value = 0.0F;
    std::memcpy(&value, element, sizeof value);
    return value;
  }
  if (dtype == DType::fp8_e4m3) {
    return decode_e4m3(std::to_integer<std::uint8_t>(*element));
  }
  std::uint16_t code = 0;
  std::memcpy(&code, element, sizeof code);
  if (dtype == DType::fp16) {
    return decode_fp16(code);
  }
  if (dtype == DType::bf16) {  // the upper half of a float
    return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16U);
  }
  throw std::invalid_argument("load: not a floating-point type of the library");
}

void store(DType dtype, float value, std::byte* element) {
  if (dtype == DType::fp32) {
    const std::uint32_t code = std::isnan(value) ? 0x7FFFFFFFU : std::bit_cast<std::uint32_t>(value);
    std::memcpy(element, &code, sizeof code);
    return;
  }
  if (dtype != DType::bf16 && dtype != DType::fp16) {
    throw std::invalid_argument("store: not bf16, fp16 or fp32");
  }
  const std::uint16_t code = dtype == DType::bf16 ? encode_bf16(value) : encode_fp16(value);
  std::memcpy(element, &code, sizeof code);
}

}  // namespace railyard::reference
