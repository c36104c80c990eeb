// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/watchdog.hpp"

#include "cli/exit_status.hpp"
#include "diagnostics/format.hpp"

#include <cstdlib>
#include <utility>

namespace railyard::cli::bench {

Watchdog::Watchdog(std::string what, std::chrono::seconds limit)
    : thread_([this, what = std::move(what), limit] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, limit, [this] { return over_; })) return;
        diagnostics::print(stderr, "{} did not answer for {} s: the process ends here\n", what, limit.count());
        std::_Exit(static_cast<int>(ExitStatus::failed));
      }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

}  // namespace railyard::cli::bench
