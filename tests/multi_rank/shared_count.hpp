// SPDX-License-Identifier: Apache-2.0
// By which ranks wait for each other beside the library: nobody guesses how long the others take.
#pragma once

#include "multi_rank/process_shared.hpp"

#include <atomic>
#include <chrono>
#include <thread>

namespace railyard::multi_rank {

/// Shared by threads, and by processes forked after it was made.
class SharedCount {
 public:
  void add() { count_->fetch_add(1); }
  /// Returns once it is `count`; false: not within a minute.
  [[nodiscard]] bool wait_for(int count) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (count_->load() < count) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

 private:
  ProcessShared<std::atomic<int>> count_{0};
};

}  // namespace railyard::multi_rank
