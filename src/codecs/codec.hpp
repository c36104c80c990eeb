// SPDX-License-Identifier: Apache-2.0
// How a row is encoded for the wire and decoded again. A row's bytes are a pure function of the row.
//
// All functions work on one row of `hidden` elements, write exactly `RowFormat::row_bytes` and `scale_bytes`, accept
// any alignment of any pointer, and keep no state: any number of threads may call them. Source and destination must not
// overlap. `scales` is not touched (and may be null) for codecs without scales.
// They assume the default floating-point environment (round to nearest, denormals not flushed).
//
// Element codecs (bf16, fp16, fp32): a copy when the type is the same, NaN payloads included; otherwise one rounding to
// nearest even and canonical NaN. The definitions of the FP8 codecs are in fp8_e4m3.hpp and fp8_e4m3_ue8m0.hpp.
#pragma once

#include <railyard/types.hpp>

namespace railyard::codecs {

using EncodeRow = void (*)(const void* source, void* row, void* scales, int hidden) noexcept;
using DecodeRow = void (*)(const void* row, const void* scales, void* destination, int hidden) noexcept;

/// The fastest encoder that this processor runs, for input of type bf16, fp16 or fp32.
/// Throws `Error{unsupported}` for any other input type.
[[nodiscard]] EncodeRow encoder(Codec codec, DType input);

/// The inverse, for output of type bf16, fp16 or fp32: the stored value times its scale in fp32, then one rounding to
/// the output type, canonical NaN. Throws `Error{unsupported}` for any other output type.
[[nodiscard]] DecodeRow decoder(Codec codec, DType output);

}  // namespace railyard::codecs
