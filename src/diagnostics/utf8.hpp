// SPDX-License-Identifier: Apache-2.0
// What text is UTF-8: names of files and values of variables need not be.
#pragma once

#include <cstddef>
#include <string_view>

namespace railyard::diagnostics {

/// Bytes of the UTF-8 sequence that begins `text` (Unicode 15, table 3-7), or 0. `text` is not empty.
[[nodiscard]] std::size_t utf8_sequence_length(std::string_view text);

}  // namespace railyard::diagnostics
