// SPDX-License-Identifier: Apache-2.0
// The text whose bytes are the demo's tokens, and how it is dealt to the ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::cli::demo {

/// data/demo.txt, built into the program.
[[nodiscard]] std::string_view built_in_text() noexcept;

/// The bytes of a file, or the built-in text if `path` is empty. Throws UsageError if it cannot be read or is empty.
[[nodiscard]] std::string read_text(const std::string& path);

/// Bytes [first, first + count) of the text.
struct Slice {
  std::size_t first = 0;
  std::size_t count = 0;
};

/// Step s takes the next ranks * tokens bytes and gives each rank an even share of them, in order: the last step's
/// shares are smaller and may be empty. At most `max_steps` steps, 0 for all. Result: [steps][ranks].
[[nodiscard]] std::vector<std::vector<Slice>> deal(std::size_t bytes, int ranks, int tokens, int max_steps);

}  // namespace railyard::cli::demo
