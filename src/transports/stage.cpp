// SPDX-License-Identifier: Apache-2.0
#include "transports/stage.hpp"

#include <array>

namespace railyard::transports {

std::string_view name(Stage stage) noexcept {
  switch (stage) {
    case Stage::slot:
      return "slot";
    case Stage::exchange:
      return "exchange";
    case Stage::write:
      return "write";
    case Stage::arrival:
      return "arrival";
    case Stage::place:
      return "place";
    case Stage::pull:
      return "pull";
    case Stage::readers:
      return "readers";
  }
  return "?";
}

std::span<const std::string_view> trace_rows() noexcept {
  static constexpr std::array<std::string_view, 9> kRows{"send",    "receive", "slot", "exchange", "write",
                                                         "arrival", "place",   "pull", "readers"};
  static_assert(kRows.size() == trace_row(Stage::readers) + 1);
  return kRows;
}

}  // namespace railyard::transports
