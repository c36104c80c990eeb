// SPDX-License-Identifier: Apache-2.0
#include "cli/parallel.hpp"

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace railyard::cli {

void parallel_for(std::int64_t count, const std::function<void(std::int64_t first, std::int64_t last)>& work) {
  const std::int64_t cores = std::max(1U, std::thread::hardware_concurrency());
  const std::int64_t pieces = std::clamp<std::int64_t>(count, 1, cores);
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work_on = [&](std::int64_t piece) {
    try {
      work(count * piece / pieces, count * (piece + 1) / pieces);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    threads.reserve(static_cast<std::size_t>(pieces - 1));
    for (std::int64_t piece = 1; piece < pieces; ++piece) {
      threads.emplace_back([&work_on, piece] { work_on(piece); });
    }
    work_on(0);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace railyard::cli
