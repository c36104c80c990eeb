// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/resource_limit.hpp"

#include "diagnostics/format.hpp"

#include <cerrno>
#include <limits>
#include <system_error>

namespace railyard::diagnostics {

std::optional<std::size_t> resource_limit(decltype(RLIMIT_AS) resource) noexcept {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

std::size_t largest_file() noexcept {
  return resource_limit(RLIMIT_FSIZE).value_or(std::numeric_limits<std::size_t>::max());
}

std::string error_and_limit(int error) {
  std::string text = std::generic_category().message(error);
  if (error == ENOMEM) {
    if (const auto bytes = resource_limit(RLIMIT_AS)) {
      text += format("; this process may map {} bytes (RLIMIT_AS, ulimit -v)", *bytes);
    }
  } else if (error == EMFILE) {
    if (const auto files = resource_limit(RLIMIT_NOFILE)) {
      text += format("; this process may open {} (RLIMIT_NOFILE, ulimit -n)", *files);
    }
  } else if (error == EFBIG) {
    if (const auto bytes = resource_limit(RLIMIT_FSIZE))
      text += format("; files may have {} bytes (ulimit -f)", *bytes);
  }
  return text;
}

}  // namespace railyard::diagnostics
