// SPDX-License-Identifier: Apache-2.0
// The instruction-set levels and the table of row functions of each. Every level gives the same bytes; the factories of
// codec.hpp, reduction.hpp and copy.hpp hand out the best one that the processor has.
#pragma once

#include "codecs/codec.hpp"
#include "codecs/copy.hpp"
#include "codecs/reduction.hpp"

#include <railyard/types.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace railyard::codecs {

enum class Level : std::uint8_t {
  scalar,
  avx2,    // AVX2, FMA, F16C
  avx512,  // AVX-512 F, BW, VL, DQ
};

using CopyRowTo = void (*)(const Destinations& destinations, const void* source, std::size_t bytes) noexcept;

inline constexpr std::size_t kNumCodecs = 5;      // the enumerators of Codec
inline constexpr std::size_t kNumFloatTypes = 3;  // bf16, fp16, fp32: the first enumerators of DType
inline constexpr std::size_t kNumStores = 2;      // the enumerators of Stores

/// Indexed by the enumerators' values.
struct Implementation {
  template <class Function>
  using PerType = std::array<Function, kNumFloatTypes>;

  std::array<PerType<EncodeRow>, kNumCodecs> encode;      // [codec][input]
  std::array<PerType<DecodeRow>, kNumCodecs> decode;      // [codec][output]
  PerType<AccumulateRow> accumulate;                      // [input]
  PerType<AccumulateWeightedRow> accumulate_weighted;     // [input]
  PerType<RoundRow> round;                                // [output]
  std::array<PerType<PerType<SumRows>>, kNumStores> sum;  // [stores][input][output]
  CopyRowTo copy;
};

/// Whether this build and this processor have the level. `scalar`: always.
[[nodiscard]] bool supported(Level level) noexcept;

/// The highest supported level; found once.
[[nodiscard]] Level best_level() noexcept;

/// The table of one level, for tests and measurements. Throws `Error{unsupported}` naming the level.
[[nodiscard]] const Implementation& implementation(Level level);

[[nodiscard]] std::string_view name(Level level) noexcept;

/// One per level, each in its own file; those of absent levels are not compiled.
[[nodiscard]] const Implementation& scalar_implementation() noexcept;
[[nodiscard]] const Implementation& avx2_implementation() noexcept;
[[nodiscard]] const Implementation& avx512_implementation() noexcept;

}  // namespace railyard::codecs
