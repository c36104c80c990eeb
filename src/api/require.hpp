// SPDX-License-Identifier: Apache-2.0
// Refusing an argument with a message.
#pragma once

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <type_traits>
#include <utility>

namespace railyard::api {

/// Throws RY-INVALID-ARGUMENT unless `holds`. The message is formatted only then.
template <typename... Args>
void require(bool holds, fmt::format_string<Args...> format, Args&&... args) {
  if (!holds) throw Error(ErrorCode::invalid_argument, diagnostics::format(format, std::forward<Args>(args)...));
}

/// Throws unless `value` is one of the enumerators from 0 to `last`: it may have been cast from a number.
template <typename Enum>
void require_enumerator(const char* field, Enum value, Enum last) {
  const auto number = static_cast<std::underlying_type_t<Enum>>(value);
  require(number <= static_cast<std::underlying_type_t<Enum>>(last), "{} is {}; the enumerators are 0 to {}", field,
          number, static_cast<std::underlying_type_t<Enum>>(last));
}

}  // namespace railyard::api
