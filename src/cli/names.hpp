// SPDX-License-Identifier: Apache-2.0
// Values by the names that the command line uses: those of railyard::name().
#pragma once

#include "cli/exit_status.hpp"

#include <railyard/types.hpp>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::cli {

inline constexpr std::array kLayouts = {Layout::rank_major, Layout::expert_major, Layout::expert_slots};
inline constexpr std::array kCodecs = {Codec::bf16, Codec::fp16, Codec::fp32, Codec::fp8_e4m3, Codec::fp8_e4m3_ue8m0};
inline constexpr std::array kModes = {Mode::throughput, Mode::low_latency};
inline constexpr std::array kReductionLevels = {ReductionLevels::none, ReductionLevels::rank};

/// "a, b or c".
template <typename Values>
[[nodiscard]] std::string names_of(const Values& values) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    text += i == 0 ? "" : i + 1 == values.size() ? " or " : ", ";
    text += name(values[i]);
  }
  return text;
}

/// The value called `text`. Throws UsageError naming the option, the value and what is accepted.
template <typename Values>
[[nodiscard]] typename Values::value_type value_of(std::string_view option, std::string_view text,
                                                   const Values& values) {
  for (const auto value : values) {
    if (name(value) == text) {
      return value;
    }
  }
  throw UsageError(std::string(option) + " is '" + std::string(text) + "'; it takes " + names_of(values));
}

}  // namespace railyard::cli
