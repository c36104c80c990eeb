// SPDX-License-Identifier: Apache-2.0
// One world's log: to the caller's callback, or to stderr as far as somebody reads that.
#pragma once

#include <railyard/log.hpp>

#include <memory>
#include <mutex>
#include <string_view>

namespace spdlog {
class logger;
}

namespace railyard::diagnostics {

/// Thread-safe; one line at a time.
class Log {
 public:
  Log(LogLevel level, LogCallback callback);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  [[nodiscard]] bool enabled(LogLevel level) const noexcept { return level != LogLevel::off && level >= level_; }
  void write(LogLevel level, std::string_view line);

 private:
  LogLevel level_;
  LogCallback callback_;
  std::mutex mutex_;
  std::shared_ptr<spdlog::logger> stderr_;
};

}  // namespace railyard::diagnostics
