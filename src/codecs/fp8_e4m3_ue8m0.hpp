// SPDX-License-Identifier: Apache-2.0
// Codec `fp8_e4m3_ue8m0`: E4M3 elements with one power-of-two scale, a UE8M0 byte, per 128 of them (the last block may
// be short).
//
//   amax     = max(1e-4, max |x| over the block, ignoring NaN)
//   exponent = min(127, ceil(log2(amax * fl(1/448))))     exact, from the bits
//   q        = satfinite_e4m3(x * 2^-exponent), NaN -> 0x7F
//   byte     = exponent + 127
//   x'       = q * 2^exponent
//
// For finite elements the byte lies in [105, 247]. A block with an infinity has amax = +Inf; its exponent is clamped to
// 127, so that the byte is 254, the largest scale (0xFF would be UE8M0's NaN): infinities become +-448 and decode to
// infinity (448 * 2^127 overflows fp32), finite elements x * 2^-127.
// Source: deep_ep and DeepGEMM's power-of-two scales; the byte is the OCP "Microscaling formats" 1.0 E8M0.
#pragma once

#include "codecs/element.hpp"
#include "codecs/fp8_e4m3.hpp"

#include <cstdint>

namespace railyard::codecs {

struct Fp8E4m3Ue8m0 {
  static constexpr int kBlock = 128;
  using Scale = std::uint8_t;

  struct Block {
    Scale scale;       // stored
    float multiplier;  // of the elements
  };
  static constexpr Block block_of(float amax) noexcept {
    const int unclamped = ceil_log2(amax * kE4m3MaxInverse);
    const int exponent = unclamped < 127 ? unclamped : 127;
    return {static_cast<Scale>(exponent + 127), power_of_two(-exponent)};
  }
  static constexpr float scale_value(Scale scale) noexcept { return ue8m0_to_float(scale); }
};

}  // namespace railyard::codecs
