// SPDX-License-Identifier: Apache-2.0
// Conversions between fp32 and the storage formats, as src/codecs defines them: nearest even, canonical NaN.
#pragma once

#include <cstdint>

namespace railyard::device {

/// Of packed pairs: the lower element is the lower half.
__device__ __forceinline__ float2 bf16_pair_to_floats(std::uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U)};
}

__device__ __forceinline__ std::uint32_t floats_to_bf16_pair(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));  // NaN becomes 0x7FFF
  return pair;
}

__device__ __forceinline__ float2 fp16_pair_to_floats(std::uint32_t pair) {
  float2 value;
  asm("{\n\t.reg .b16 low, high;\n\tmov.b32 {low, high}, %2;\n\tcvt.f32.f16 %0, low;\n\tcvt.f32.f16 %1, high;\n\t}"
      : "=f"(value.x), "=f"(value.y)
      : "r"(pair));
  return value;
}

__device__ __forceinline__ std::uint32_t floats_to_fp16_pair(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));  // NaN becomes 0x7FFF
  return pair;
}

__device__ __forceinline__ float canonical(float value) {
  return __isnanf(value) ? __uint_as_float(0x7FFFFFFFU) : value;
}

/// Four E4M3 codes, saturating, NaN becomes 0x7F; `a` in the lowest byte.
__device__ __forceinline__ std::uint32_t floats_to_e4m3(float a, float b, float c, float d) {
  std::uint16_t low;
  std::uint16_t high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  return static_cast<std::uint32_t>(low) | static_cast<std::uint32_t>(high) << 16;
}

/// Element-wise the larger magnitude of packed bf16 pairs, with a sign that means nothing; a NaN loses to a number.
__device__ __forceinline__ std::uint32_t bf16_pair_magnitude_max(std::uint32_t a, std::uint32_t b) {
  std::uint32_t result;
  asm("max.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}

/// 1/x within one unit in the last place, for normal x and results.
__device__ __forceinline__ float reciprocal_approximation(float x) {
  float result;
  asm("rcp.approx.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace railyard::device
