// SPDX-License-Identifier: Apache-2.0
// Output that waits for no reader: what a deadline must not depend on.
#pragma once

#include <string_view>

namespace railyard::diagnostics {

/// Writes the text, as far as that needs no waiting: a pipe that is full, a terminal that was stopped, or a reader that
/// has gone (no SIGPIPE) get no more of it. False if not all was written. Of several processes that fill one pipe at
/// the same instant one may wait all the same.
bool write_unless_blocked(int descriptor, std::string_view text) noexcept;

}  // namespace railyard::diagnostics
