// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/format.hpp"

namespace railyard::diagnostics {

std::string format_arguments(fmt::string_view text, fmt::format_args arguments) {
  return fmt::vformat(text, arguments);
}

void print_arguments(std::FILE* file, fmt::string_view text, fmt::format_args arguments) {
  fmt::vprint(file, text, arguments);
}

}  // namespace railyard::diagnostics
