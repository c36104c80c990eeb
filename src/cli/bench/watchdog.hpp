// SPDX-License-Identifier: Apache-2.0
// Others' libraries may wait for ever; this program does not.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace railyard::cli::bench {

/// Ends the process with status 1, and says on standard error who did not answer, unless it is destroyed in time.
class Watchdog {
 public:
  Watchdog(std::string what, std::chrono::seconds limit);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace railyard::cli::bench
