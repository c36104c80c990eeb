// SPDX-License-Identifier: Apache-2.0
#include "transports/stage.hpp"

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

}  // namespace railyard::transports
