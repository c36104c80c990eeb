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
#include <type_traits>
#include <utility>
#include <vector>

namespace railyard::bootstrap {

/// Raised once; later reasons are ignored. Any thread.
class AbortFlag {
 public:
  using Watcher = std::function<void(const std::string& reason)>;

  [[nodiscard]] bool raised() const noexcept { return raised_.load(std::memory_order_acquire); }

  /// Calls the watchers, holding no lock of the flag's own.
  void raise(std::string_view reason) {
    std::vector<std::weak_ptr<Watcher>> watchers;
    {
      const std::lock_guard lock(mutex_);
      if (raised_.load(std::memory_order_relaxed)) return;
      reason_ = reason;
      raised_.store(true, std::memory_order_release);
      watchers.swap(watchers_);
    }
    for (const std::weak_ptr<Watcher>& watcher : watchers) {
      if (const auto call = watcher.lock()) (*call)(reason_);  // never written again
    }
  }

  [[nodiscard]] std::string reason() const {
    const std::lock_guard lock(mutex_);
    return reason_;
  }

  /// `call`, with the reason or without arguments, is called once, when the flag is raised (now, if it has been), as
  /// long as the result lives; a call that has begun may end later.
  template <typename Call>
  [[nodiscard]] std::shared_ptr<void> watch(Call call) {
    auto watcher = std::make_shared<Watcher>([call = std::move(call)](const std::string& reason) {
      if constexpr (std::is_invocable_v<const Call&, const std::string&>) {
        call(reason);
      } else {
        call();
      }
    });
    {
      const std::lock_guard lock(mutex_);
      if (!raised_.load(std::memory_order_relaxed)) {
        std::erase_if(watchers_, [](const auto& other) { return other.expired(); });
        watchers_.push_back(watcher);
        return watcher;
      }
    }
    (*watcher)(reason_);
    return watcher;
  }

 private:
  std::atomic<bool> raised_{false};
  mutable std::mutex mutex_;
  std::string reason_;
  std::vector<std::weak_ptr<Watcher>> watchers_;
};

}  // namespace railyard::bootstrap
