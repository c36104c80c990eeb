// SPDX-License-Identifier: Apache-2.0
// Number formats from their definitions, one element at a time.
#pragma once

#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>

namespace railyard::reference {

/// Bytes of one element.
[[nodiscard]] std::size_t bytes_of(DType dtype);

/// The value of an IEEE binary16 code (5 exponent bits, 10 mantissa bits).
[[nodiscard]] float decode_fp16(std::uint16_t code);
/// The value of an E4M3 code (OCP 8-bit floating point, "E4M3": no infinities, NaN is 0x7F and 0xFF).
[[nodiscard]] float decode_e4m3(std::uint8_t code);

/// Nearest bf16 or fp16, ties to even; beyond the largest finite value by half a step: infinity; NaN: 0x7FFF.
[[nodiscard]] std::uint16_t encode_bf16(float value);
[[nodiscard]] std::uint16_t encode_fp16(float value);
/// Nearest finite E4M3 value, ties to even, so that all beyond 448, infinities too, become +-448; NaN: 0x7F.
[[nodiscard]] std::uint8_t encode_e4m3(double value);

/// One element in memory; `dtype` is bf16, fp16, fp32 or (load only) fp8_e4m3, else std::invalid_argument.
[[nodiscard]] float load(DType dtype, const std::byte* element);
/// Rounds once; NaN in fp32 is written 0x7FFFFFFF.
void store(DType dtype, float value, std::byte* element);

}  // namespace railyard::reference
