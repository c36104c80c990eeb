// SPDX-License-Identifier: Apache-2.0
// Conversion of one element between fp32 and the storage formats, by integer arithmetic on the bits: the result depends
// on neither the rounding mode nor the compiler. Rounding is to nearest, ties to even; denormals are kept on both
// sides. A NaN that is written is canonical: 0x7FFF in bf16 and fp16, 0x7FFFFFFF in fp32, 0x7F in E4M3. Formats: bf16
// is the upper half of IEEE 754 binary32; fp16 is binary16; E4M3 is the OFP8 one (Open Compute Project, "OFP8
// formats" 1.0: bias 7, no infinity, S.1111.111 is NaN, largest 448); UE8M0 is a biased exponent byte (bias 127, 0xFF
// is NaN; "Microscaling formats" 1.0).
#pragma once

#include <railyard/types.hpp>

#include <bit>
#include <cstdint>

namespace railyard::codecs {

inline constexpr std::uint16_t kBf16Nan = 0x7FFF;
inline constexpr std::uint16_t kFp16Nan = 0x7FFF;
inline constexpr std::uint32_t kFp32Nan = 0x7FFFFFFF;
inline constexpr std::uint8_t kE4m3Nan = 0x7F;
inline constexpr float kE4m3Max = 448.0F;

namespace bits {
inline constexpr std::uint32_t kSign = 0x80000000;
inline constexpr std::uint32_t kMagnitude = 0x7FFFFFFF;
inline constexpr std::uint32_t kInfinity = 0x7F800000;
inline constexpr std::uint32_t kMantissa = 0x007FFFFF;
inline constexpr std::uint32_t kImplicitOne = 0x00800000;

/// `value / 2^shift` rounded to nearest even; 1 <= shift <= 31.
[[nodiscard]] constexpr std::uint32_t shift_right_to_even(std::uint32_t value, unsigned shift) noexcept {
  const std::uint32_t quotient = value >> shift;
  const std::uint32_t remainder = value & ((std::uint32_t{1} << shift) - 1);
  const std::uint32_t half = std::uint32_t{1} << (shift - 1);
  return quotient + (remainder > half || (remainder == half && (quotient & 1U) != 0) ? 1U : 0U);
}

/// binary32 magnitude bits (finite, at least 2^-126) to a format with `mantissa_bits` and exponent bias `bias`: the
/// magnitude's code. Overflow carries into the exponent; the caller handles what lies beyond the format.
[[nodiscard]] constexpr std::uint32_t narrow(std::uint32_t magnitude, unsigned mantissa_bits, unsigned bias) noexcept {
  const unsigned dropped = 23 - mantissa_bits;
  const std::uint32_t exponent = magnitude >> 23;
  if (exponent > 127 - bias) {
    return shift_right_to_even(magnitude - ((127 - bias) << 23), dropped);
  }
  // A denormal of the target: its unit is 2^(1 - bias - mantissa_bits).
  const unsigned shift = dropped + (127 - bias) + 1 - exponent;
  return shift > 25 ? 0 : shift_right_to_even((magnitude & kMantissa) | kImplicitOne, shift);
}
}  // namespace bits

[[nodiscard]] constexpr float float_from_bits(std::uint32_t value) noexcept { return std::bit_cast<float>(value); }
[[nodiscard]] constexpr std::uint32_t bits_of(float value) noexcept { return std::bit_cast<std::uint32_t>(value); }
[[nodiscard]] constexpr bool is_nan(float value) noexcept {
  return (bits_of(value) & bits::kMagnitude) > bits::kInfinity;
}

/// The value itself, or the canonical NaN.
[[nodiscard]] constexpr float canonical(float value) noexcept {
  return is_nan(value) ? float_from_bits(kFp32Nan) : value;
}

/// Exact, NaN included (its payload becomes the upper half of the fp32 one).
[[nodiscard]] constexpr float bf16_to_float(std::uint16_t code) noexcept {
  return float_from_bits(std::uint32_t{code} << 16);
}

[[nodiscard]] constexpr std::uint16_t float_to_bf16(float value) noexcept {
  const std::uint32_t word = bits_of(value);
  if (is_nan(value)) {
    return kBf16Nan;
  }
  return static_cast<std::uint16_t>(bits::shift_right_to_even(word, 16));
}

/// Exact; a NaN keeps its payload and becomes quiet.
[[nodiscard]] constexpr float fp16_to_float(std::uint16_t code) noexcept {
  const std::uint32_t sign = std::uint32_t{code & 0x8000U} << 16;
  const std::uint32_t magnitude = code & 0x7FFFU;
  if (magnitude > 0x7C00) {
    return float_from_bits(sign | bits::kInfinity | 0x00400000 | ((magnitude & 0x3FF) << 13));
  }
  if (magnitude == 0x7C00) {
    return float_from_bits(sign | bits::kInfinity);
  }
  if (magnitude >= 0x0400) {
    return float_from_bits(sign | ((magnitude << 13) + ((127 - 15) << 23)));
  }
  const float denormal = static_cast<float>(magnitude) * 0x1p-24F;
  return float_from_bits(sign | bits_of(denormal));
}

/// From 65520 on: infinity.
[[nodiscard]] constexpr std::uint16_t float_to_fp16(float value) noexcept {
  const std::uint32_t word = bits_of(value);
  const std::uint32_t magnitude = word & bits::kMagnitude;
  const std::uint32_t sign = (word & bits::kSign) >> 16;
  if (magnitude > bits::kInfinity) {
    return kFp16Nan;
  }
  if (magnitude >= bits_of(65520.0F)) {
    return static_cast<std::uint16_t>(sign | 0x7C00);
  }
  return static_cast<std::uint16_t>(sign | bits::narrow(magnitude, 10, 15));
}

/// Exact; both NaN codes become the canonical fp32 NaN.
[[nodiscard]] constexpr float e4m3_to_float(std::uint8_t code) noexcept {
  const std::uint32_t sign = std::uint32_t{code & 0x80U} << 24;
  const std::uint32_t magnitude = code & 0x7FU;
  if (magnitude == kE4m3Nan) {
    return float_from_bits(kFp32Nan);
  }
  if (magnitude >= 0x08) {
    return float_from_bits(sign | ((magnitude << 20) + ((127 - 7) << 23)));
  }
  return float_from_bits(sign | bits_of(static_cast<float>(magnitude) * 0x1p-9F));
}

/// Saturating ("satfinite"): beyond 448, infinity included, the largest finite value with the sign; NaN becomes 0x7F.
[[nodiscard]] constexpr std::uint8_t float_to_e4m3(float value) noexcept {
  const std::uint32_t word = bits_of(value);
  const std::uint32_t magnitude = word & bits::kMagnitude;
  const std::uint32_t sign = (word & bits::kSign) >> 24;
  if (magnitude > bits::kInfinity) {
    return kE4m3Nan;
  }
  if (magnitude >= bits_of(kE4m3Max)) {
    return static_cast<std::uint8_t>(sign | 0x7E);
  }
  return static_cast<std::uint8_t>(sign | bits::narrow(magnitude, 3, 7));
}

/// 2^exponent for -149 <= exponent <= 127, exact.
[[nodiscard]] constexpr float power_of_two(int exponent) noexcept {
  return exponent >= -126 ? float_from_bits(static_cast<std::uint32_t>(exponent + 127) << 23)
                          : float_from_bits(std::uint32_t{1} << (exponent + 149));
}

/// 2^(code - 127), exact (code 0 is a denormal); 0xFF is NaN.
[[nodiscard]] constexpr float ue8m0_to_float(std::uint8_t code) noexcept {
  return code == 0xFF ? float_from_bits(kFp32Nan) : power_of_two(static_cast<int>(code) - 127);
}

/// ceil(log2(value)) for a positive normal value, exact; 128 for infinity.
[[nodiscard]] constexpr int ceil_log2(float value) noexcept {
  const std::uint32_t word = bits_of(value);
  return static_cast<int>(word >> 23) - 127 + ((word & bits::kMantissa) != 0 ? 1 : 0);
}

/// One element type as a compile-time family: `Storage`, `to_float` (exact), `from_float` (one rounding, canonical
/// NaN).
template <DType>
struct Element;

template <>
struct Element<DType::bf16> {
  using Storage = std::uint16_t;
  static constexpr Storage kInfinity = 0x7F80;
  static constexpr float to_float(Storage code) noexcept { return bf16_to_float(code); }
  static constexpr Storage from_float(float value) noexcept { return float_to_bf16(value); }
};

template <>
struct Element<DType::fp16> {
  using Storage = std::uint16_t;
  static constexpr Storage kInfinity = 0x7C00;
  static constexpr float to_float(Storage code) noexcept { return fp16_to_float(code); }
  static constexpr Storage from_float(float value) noexcept { return float_to_fp16(value); }
};

template <>
struct Element<DType::fp32> {
  using Storage = std::uint32_t;
  static constexpr Storage kInfinity = bits::kInfinity;
  static constexpr float to_float(Storage code) noexcept { return float_from_bits(code); }
  static constexpr Storage from_float(float value) noexcept { return bits_of(canonical(value)); }
};

}  // namespace railyard::codecs
