// SPDX-License-Identifier: Apache-2.0
// Checks of what is given as a number on the command line.
#pragma once

#include "diagnostics/format.hpp"

#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace railyard::cli {

/// CLI::Range of floating-point numbers, without NaN, which that lets through.
[[nodiscard]] inline CLI::Validator real_from(double least, double most) {
  CLI::Validator validator(diagnostics::format("FLOAT in [{} - {}]", least, most));
  validator.operation([least, most](const std::string& text) -> std::string {
    double value = 0.0;
    if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) return {};
    return diagnostics::format("Value {} not in range {} to {}", text, least, most);
  });
  return validator;
}

/// Of a seed: what std::uint64_t can hold, and not what only wraps or is cut to it.
[[nodiscard]] inline CLI::Validator any_seed() {
  CLI::Validator validator("");
  validator.operation([](const std::string& text) -> std::string {
    char* end = nullptr;
    errno = 0;
    static_cast<void>(std::strtoull(text.c_str(), &end, 0));
    const bool digits_first = !text.empty() && text.front() >= '0' && text.front() <= '9';
    if (digits_first && *end == '\0' && errno == 0) return {};
    return diagnostics::format("Value {} not in range 0 to 18446744073709551615", text);
  });
  return validator;
}

}  // namespace railyard::cli
