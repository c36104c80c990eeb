// SPDX-License-Identifier: Apache-2.0
// Codec `fp8_e4m3`: E4M3 elements with one fp32 scale per 128 of them (the last block may be short).
//
//   amax  = max(1e-4, max |x| over the block, ignoring NaN)
//   scale = amax * fl(1/448)
//   q     = satfinite_e4m3(x * fl(448/amax)), NaN -> 0x7F
//   x'    = q * scale
//
// with every operation rounded once in fp32. A block with an infinity follows the formula: amax and scale are +Inf,
// 448/amax is 0, so finite elements become zeros of their sign, infinities become 0x7F (Inf * 0), and the whole block
// decodes to NaN: an overflow upstream does not pass for data. A block of NaN has the scale of amax = 1e-4.
// Source of the formula: the per-token group quantisation of DeepSeek-V3 (arXiv:2412.19437, section 3.3.2), as deep_ep
// and DeepGEMM compute it.
#pragma once

#include "codecs/element.hpp"

namespace railyard::codecs {

inline constexpr float kMinAmax = 1e-4F;
inline constexpr float kE4m3MaxInverse = 1.0F / kE4m3Max;

struct Fp8E4m3 {
  static constexpr int kBlock = 128;
  using Scale = float;

  /// What a block's amax (at least kMinAmax, not NaN) leads to.
  struct Block {
    Scale scale;       // stored
    float multiplier;  // of the elements
  };
  static constexpr Block block_of(float amax) noexcept { return {amax * kE4m3MaxInverse, kE4m3Max / amax}; }
  static constexpr float scale_value(Scale scale) noexcept { return scale; }
};

}  // namespace railyard::codecs
