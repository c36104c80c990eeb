// SPDX-License-Identifier: Apache-2.0
// HOST:PORT, as variables and command lines say it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace railyard::diagnostics {

struct Endpoint {
  std::string host;
  std::uint16_t port = 0;  // 1 to 65535
};

/// HOST:PORT, or [HOST]:PORT for a number of IPv6. Nothing if it is neither.
[[nodiscard]] std::optional<Endpoint> parse_endpoint(std::string_view text);

}  // namespace railyard::diagnostics
