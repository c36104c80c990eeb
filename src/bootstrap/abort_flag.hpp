// SPDX-License-Identifier: Apache-2.0
// A flag that ends waits, with the reason why.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>

namespace railyard::bootstrap {

/// Raised once; later reasons are ignored. Any thread.
class AbortFlag {
 public:
  [[nodiscard]] bool raised() const noexcept { return raised_.load(std::memory_order_acquire); }

  void raise(std::string_view reason) {
    const std::lock_guard lock(mutex_);
    if (raised_.load(std::memory_order_relaxed)) return;
    reason_ = reason;
    raised_.store(true, std::memory_order_release);
  }

  [[nodiscard]] std::string reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
  }

 private:
  std::atomic<bool> raised_{false};
  mutable std::mutex mutex_;
  std::string reason_;
};

}  // namespace railyard::bootstrap
