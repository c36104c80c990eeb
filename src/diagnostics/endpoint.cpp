// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/endpoint.hpp"

#include <charconv>
#include <system_error>

namespace railyard::diagnostics {

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const bool brackets = colon > 2 && text.front() == '[' && text[colon - 1] == ']';
  Endpoint endpoint{.host = std::string(brackets ? text.substr(1, colon - 2) : text.substr(0, colon))};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, endpoint.port);
  if (endpoint.host.empty() || (!brackets && endpoint.host.find(':') != std::string::npos) || error != std::errc{} ||
      rest != end || endpoint.port == 0)
    return std::nullopt;
  return endpoint;
}

}  // namespace railyard::diagnostics
