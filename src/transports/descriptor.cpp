// SPDX-License-Identifier: Apache-2.0
#include "transports/descriptor.hpp"

#include "diagnostics/format.hpp"

namespace railyard::transports {

std::string_view name(Operation operation) noexcept {
  switch (operation) {
    case Operation::route:
      return "route";
    case Operation::route_from_mask:
      return "route_from_mask";
    case Operation::dispatch:
      return "dispatch";
    case Operation::routed_dispatch:
      return "dispatch along a route";
    case Operation::combine:
      return "combine";
  }
  return "?";
}

std::string describe(const Descriptor& descriptor) {
  std::string text = diagnostics::format(
      "{}(layout={}, top_k={}, alignment={}, row_dtype={}, scales={}, weights={}, route #{}",
      name(descriptor.operation), railyard::name(descriptor.layout), descriptor.top_k, descriptor.alignment,
      railyard::name(descriptor.row_dtype), descriptor.has_scales ? railyard::name(descriptor.scale_dtype) : "none",
      descriptor.has_weights ? "yes" : "no", descriptor.route_id);
  if (descriptor.compares_all) {
    text += diagnostics::format(", capacity={}, tail={}", descriptor.capacity, railyard::name(descriptor.tail));
  }
  return text + ")";
}

}  // namespace railyard::transports
