// SPDX-License-Identifier: Apache-2.0
#include "cli/parallel.hpp"

#include <algorithm>
#include <thread>
#include <vector>

namespace railyard::cli {

void parallel_for(std::int64_t count, const std::function<void(std::int64_t first, std::int64_t last)>& work) {
  const std::int64_t cores = std::max(1U, std::thread::hardware_concurrency());
  const std::int64_t pieces = std::clamp<std::int64_t>(count, 1, cores);
  std::vector<std::jthread> threads;
  for (std::int64_t piece = 1; piece < pieces; ++piece) {
    threads.emplace_back(
        [&work, first = count * piece / pieces, last = count * (piece + 1) / pieces] { work(first, last); });
  }
  work(0, count / pieces);
}

}  // namespace railyard::cli
