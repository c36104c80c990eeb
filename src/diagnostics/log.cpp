// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

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

}  // namespace

Log::Log(LogLevel level, LogCallback callback) : level_(level), callback_(std::move(callback)) {
  if (callback_) return;
  stderr_ = std::make_shared<spdlog::logger>("railyard", std::make_shared<spdlog::sinks::stderr_sink_mt>());
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
