// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/text.hpp"

#include "cli/exit_status.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace railyard::cli::demo {

std::string read_text(const std::string& path) {
  if (path.empty()) {
    return std::string(built_in_text());
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw UsageError("--text: '" + path + "' cannot be read: " + std::strerror(errno));
  }
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (text.empty()) {
    throw UsageError("--text: '" + path + "' has 0 bytes; at least 1 is needed");
  }
  return text;
}

std::vector<std::vector<Slice>> deal(std::size_t bytes, int ranks, int tokens, int max_steps) {
  std::vector<std::vector<Slice>> steps;
  const auto num_ranks = static_cast<std::size_t>(ranks);
  const std::size_t step_bytes = num_ranks * static_cast<std::size_t>(tokens);
  for (std::size_t begin = 0; begin < bytes; begin += step_bytes) {
    if (max_steps > 0 && steps.size() == static_cast<std::size_t>(max_steps)) {
      break;
    }
    const std::size_t size = std::min(step_bytes, bytes - begin);
    std::vector<Slice>& shares = steps.emplace_back();
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      const std::size_t first = size * rank / num_ranks;
      shares.push_back({begin + first, size * (rank + 1) / num_ranks - first});
    }
  }
  return steps;
}

}  // namespace railyard::cli::demo
