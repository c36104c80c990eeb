// SPDX-License-Identifier: Apache-2.0
// How a row travels: its bytes and scales as a pure function of its elements.
#pragma once

#include <railyard/types.hpp>

#include <cstddef>
#include <vector>

namespace railyard::reference {

/// Elements that share a scale in the codecs with scales; the last block may be shorter.
inline constexpr int kBlock = 128;

struct EncodedRow {
  std::vector<std::byte> row;
  std::vector<std::byte> scales;  // empty for codecs without
};

/// Encodes one packed row of `hidden` elements of `input` (bf16, fp16 or fp32).
///   bf16 fp16 fp32   a copy if that is the input's type, else one rounding to nearest even, canonical NaN.
///   fp8_e4m3         in fp32, per block: amax = max(1e-4, max|x|, NaN ignored); scale = amax * fl(1/448);
///                    q = nearest e4m3 of fl(x * fl(448/amax)), saturated; NaN is 0x7F.
///   fp8_e4m3_ue8m0   exponent = the least n with 2^n >= amax * fl(1/448), 127 if amax is infinite;
///                    q = nearest e4m3 of x * 2^-n; the scale byte is n + 127.
/// An infinite x makes amax infinite. fp8_e4m3: infinite scale, finite x become +-0, infinite ones 0x7F, and the block
/// is NaN when decoded. UE8M0: infinite x become +-448, which decode to infinity, finite ones x * 2^-127.
[[nodiscard]] EncodedRow encode_row(Codec codec, DType input, const std::byte* x, int hidden);

/// The values of an encoded row in fp32: the element, times its block's scale (one rounding).
[[nodiscard]] std::vector<float> decode_row(Codec codec, const std::byte* row, const std::byte* scales, int hidden);

/// Bytes of one packed row and of its scales.
[[nodiscard]] std::size_t row_bytes(Codec codec, int hidden);
[[nodiscard]] std::size_t scale_bytes(Codec codec, int hidden);

}  // namespace railyard::reference
