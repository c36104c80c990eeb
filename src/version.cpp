// SPDX-License-Identifier: Apache-2.0
#include <railyard/version.hpp>

#include "railyard_commit.hpp"

namespace railyard {

std::string_view version() noexcept { return RAILYARD_VERSION_STRING; }
std::string_view commit() noexcept { return RAILYARD_COMMIT; }

}  // namespace railyard
