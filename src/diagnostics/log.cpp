// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/log.hpp"

#include "diagnostics/format.hpp"
#include "diagnostics/unblocked_write.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

#include <unistd.h>

#include <mutex>
#include <string_view>
#include <utility>

namespace railyard::diagnostics {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

/// Who logs may be waiting for a peer with a deadline: lines that nobody reads are dropped and counted.
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (dropped_ > 0 && write(format("railyard: {} lines were dropped: nobody read stderr\n", dropped_))) dropped_ = 0;
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (dropped_ > 0 || !write({line.data(), line.size()})) ++dropped_;
  }
  void flush_() override {}

 private:
  static bool write(std::string_view text) { return write_unless_blocked(STDERR_FILENO, text); }

  long dropped_ = 0;
};

}  // namespace

Log::Log(LogLevel level, LogCallback callback) : level_(level), callback_(std::move(callback)) {
  if (callback_) return;
  stderr_ = std::make_shared<spdlog::logger>("railyard", std::make_shared<StderrSink>());
  stderr_->set_pattern("%Y-%m-%d %H:%M:%S.%f [%n] [%l] %v");
  stderr_->set_level(to_spdlog(level));
}

Log::~Log() = default;

void Log::write(LogLevel level, std::string_view line) {
  if (!enabled(level)) return;
  if (callback_) {
    const std::lock_guard lock(mutex_);
    callback_(level, line);
  } else {
    stderr_->log(to_spdlog(level), line);
  }
}

}  // namespace railyard::diagnostics
