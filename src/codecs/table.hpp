// SPDX-License-Identifier: Apache-2.0
// Fills the table of one level from its kernels. A new codec adds a line to `encode` and `decode` here.
#pragma once

#include "codecs/fp8_e4m3.hpp"
#include "codecs/fp8_e4m3_ue8m0.hpp"
#include "codecs/implementation.hpp"

namespace railyard::codecs {

static_assert(static_cast<int>(DType::bf16) == 0 && static_cast<int>(DType::fp16) == 1 &&
              static_cast<int>(DType::fp32) == 2);
static_assert(static_cast<int>(Codec::bf16) == 0 && static_cast<int>(Codec::fp16) == 1 &&
              static_cast<int>(Codec::fp32) == 2 && static_cast<int>(Codec::fp8_e4m3) == 3 &&
              static_cast<int>(Codec::fp8_e4m3_ue8m0) == 4);
static_assert(static_cast<int>(Stores::ordinary) == 0 && static_cast<int>(Stores::streaming) == 1);

/// `Kernels` is a level's struct of static member templates: `convert<From, To>`, `encode_blocks<Format, Input>`,
/// `decode_blocks<Format, Output>`, `accumulate<Input>`, `accumulate_weighted<Input>`, `round<Output>`,
/// `sum<Input, Output, Stores>`, and its function `copy`.
template <class Kernels>
struct Table {
  static constexpr DType kBf16 = DType::bf16;
  static constexpr DType kFp16 = DType::fp16;
  static constexpr DType kFp32 = DType::fp32;

  template <DType Input, DType Wire>
  static void encode_elements(const void* source, void* row, void* /*scales*/, int hidden) noexcept {
    Kernels::template convert<Input, Wire>(source, row, hidden);
  }
  template <DType Wire, DType Output>
  static void decode_elements(const void* row, const void* /*scales*/, void* destination, int hidden) noexcept {
    Kernels::template convert<Wire, Output>(row, destination, hidden);
  }

  template <DType Wire>
  static constexpr Implementation::PerType<EncodeRow> element_encoders() {
    return {&encode_elements<kBf16, Wire>, &encode_elements<kFp16, Wire>, &encode_elements<kFp32, Wire>};
  }
  template <DType Wire>
  static constexpr Implementation::PerType<DecodeRow> element_decoders() {
    return {&decode_elements<Wire, kBf16>, &decode_elements<Wire, kFp16>, &decode_elements<Wire, kFp32>};
  }
  template <class Format>
  static constexpr Implementation::PerType<EncodeRow> block_encoders() {
    return {&Kernels::template encode_blocks<Format, kBf16>, &Kernels::template encode_blocks<Format, kFp16>,
            &Kernels::template encode_blocks<Format, kFp32>};
  }
  template <class Format>
  static constexpr Implementation::PerType<DecodeRow> block_decoders() {
    return {&Kernels::template decode_blocks<Format, kBf16>, &Kernels::template decode_blocks<Format, kFp16>,
            &Kernels::template decode_blocks<Format, kFp32>};
  }
  template <Stores S, DType Input>
  static constexpr Implementation::PerType<SumRows> sums_of() {
    return {&Kernels::template sum<Input, kBf16, S>, &Kernels::template sum<Input, kFp16, S>,
            &Kernels::template sum<Input, kFp32, S>};
  }
  template <Stores S>
  static constexpr Implementation::PerType<Implementation::PerType<SumRows>> sums() {
    return {sums_of<S, kBf16>(), sums_of<S, kFp16>(), sums_of<S, kFp32>()};
  }

  static constexpr Implementation make() {
    return {
        .encode = {element_encoders<kBf16>(), element_encoders<kFp16>(), element_encoders<kFp32>(),
                   block_encoders<Fp8E4m3>(), block_encoders<Fp8E4m3Ue8m0>()},
        .decode = {element_decoders<kBf16>(), element_decoders<kFp16>(), element_decoders<kFp32>(),
                   block_decoders<Fp8E4m3>(), block_decoders<Fp8E4m3Ue8m0>()},
        .accumulate = {&Kernels::template accumulate<kBf16>, &Kernels::template accumulate<kFp16>,
                       &Kernels::template accumulate<kFp32>},
        .accumulate_weighted = {&Kernels::template accumulate_weighted<kBf16>,
                                &Kernels::template accumulate_weighted<kFp16>,
                                &Kernels::template accumulate_weighted<kFp32>},
        .round = {&Kernels::template round<kBf16>, &Kernels::template round<kFp16>, &Kernels::template round<kFp32>},
        .sum = {sums<Stores::ordinary>(), sums<Stores::streaming>()},
        .copy = &Kernels::copy,
    };
  }
};

}  // namespace railyard::codecs
