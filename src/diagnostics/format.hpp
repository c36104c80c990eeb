// SPDX-License-Identifier: Apache-2.0
// Text from a format string. What formats is compiled once, in format.cpp, and not into every object that writes an
// error: that was most of the build's time.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>

namespace railyard::diagnostics {

[[nodiscard]] std::string format_arguments(fmt::string_view text, fmt::format_args arguments);
void print_arguments(std::FILE* file, fmt::string_view text, fmt::format_args arguments);

/// fmt::format: the same format strings, checked at compile time.
template <typename... Arguments>
[[nodiscard]] std::string format(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  return format_arguments(text, fmt::make_format_args(arguments...));
}

/// fmt::print.
template <typename... Arguments>
void print(std::FILE* file, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  print_arguments(file, text, fmt::make_format_args(arguments...));
}

}  // namespace railyard::diagnostics
