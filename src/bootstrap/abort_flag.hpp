// SPDX-License-Identifier: Apache-2.0
// A flag that ends waits, with the reason why.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
    for (const std::weak_ptr<std::function<void()>>& watcher : watchers_) {
      if (const auto call = watcher.lock()) (*call)();
    }
  }

  [[nodiscard]] std::string reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
  }

  /// `call` is called once, when the flag is raised (now, if it has been), as long as the result lives. It must not
  /// use the flag.
  [[nodiscard]] std::shared_ptr<void> watch(std::function<void()> call) {
    auto watcher = std::make_shared<std::function<void()>>(std::move(call));
    const std::lock_guard lock(mutex_);
    if (raised_.load(std::memory_order_relaxed)) {
      (*watcher)();
      return watcher;
    }
    std::erase_if(watchers_, [](const auto& other) { return other.expired(); });
    watchers_.push_back(watcher);
    return watcher;
  }

 private:
  std::atomic<bool> raised_{false};
  mutable std::mutex mutex_;
  std::string reason_;
  std::vector<std::weak_ptr<std::function<void()>>> watchers_;
};

}  // namespace railyard::bootstrap
