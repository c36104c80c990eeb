// SPDX-License-Identifier: Apache-2.0
// Some ranks of a world as a world of their own.
#pragma once

#include "bootstrap/bootstrap.hpp"

#include <memory>
#include <string>
#include <vector>

namespace railyard::bootstrap {

/// The members' collectives, counted from 0 to members - 1 in the order of `members` (ascending ranks of `world`). Each
/// is an assembly of `key` and a number, the same on all members, so a call that failed may be repeated. `end` is the
/// result's abort flag: it ends the collectives; `abort` raises it here alone. Errors name ranks of `world`.
[[nodiscard]] std::shared_ptr<Bootstrap> make_member_bootstrap(std::shared_ptr<Bootstrap> world,
                                                               std::vector<int> members, std::string key,
                                                               std::shared_ptr<AbortFlag> end);

}  // namespace railyard::bootstrap
