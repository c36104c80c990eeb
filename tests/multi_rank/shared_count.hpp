// SPDX-License-Identifier: Apache-2.0
// By which ranks wait for each other beside the library: nobody guesses how long the others take.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <new>
#include <thread>

namespace railyard::multi_rank {

/// Shared by threads, and by processes forked after it was made.
class SharedCount {
 public:
  SharedCount() {
    void* const memory = ::mmap(nullptr, sizeof(*count_), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    count_ = new (memory) std::atomic<int>(0);
  }
  ~SharedCount() { ::munmap(count_, sizeof(*count_)); }
  SharedCount(const SharedCount&) = delete;
  SharedCount& operator=(const SharedCount&) = delete;

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
  std::atomic<int>* count_ = nullptr;
};

}  // namespace railyard::multi_rank
