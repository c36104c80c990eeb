// SPDX-License-Identifier: Apache-2.0
// What a check of the machine came to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace railyard::cli::doctor {

enum class State : std::uint8_t {
  ok,
  note,         // works, but somebody may want to know
  problem,      // something will not work
  not_checked,  // left out; the remedy says how to have it checked
};

[[nodiscard]] constexpr std::string_view name(State state) noexcept {
  constexpr std::string_view kNames[] = {"ok", "note", "problem", "not_checked"};
  return kNames[static_cast<std::uint8_t>(state)];
}

struct Finding {
  std::string check;  // its name
  State state = State::ok;
  std::string found = {};                                    // one line
  std::string remedy = {};                                   // empty if, and only if, the state is ok
  std::vector<std::pair<std::string, double>> numbers = {};  // what `found` says, for programs; units in the names
};

using Findings = std::vector<Finding>;

}  // namespace railyard::cli::doctor
