// SPDX-License-Identifier: Apache-2.0
// Refusing an argument with a message.
#pragma once

#include <railyard/error.hpp>

#include <fmt/format.h>

#include <utility>

namespace railyard::api {

/// Throws RY-INVALID-ARGUMENT unless `holds`. The message is formatted only then.
template <typename... Args>
void require(bool holds, fmt::format_string<Args...> format, Args&&... args) {
  if (!holds) throw Error(ErrorCode::invalid_argument, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace railyard::api
