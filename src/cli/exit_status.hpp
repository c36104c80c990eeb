// SPDX-License-Identifier: Apache-2.0
// How the program ends.
#pragma once

#include <railyard/error.hpp>

#include <string>

namespace railyard::cli {

enum class ExitStatus : int {
  verified = 0,  // everything asked was done, and every result was checked and right
  failed = 1,    // a wrong result, or an error while running
  usage = 2,     // the command line asks for something that cannot be; nothing ran
};

/// What is wrong with the command line. The message names the option, its value and what is accepted.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message, ErrorCode code = ErrorCode::invalid_argument)
      : Error(code, message) {}
};

}  // namespace railyard::cli
