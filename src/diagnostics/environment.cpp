// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/environment.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace railyard::diagnostics {
namespace {

constexpr double kMaxTimeoutSeconds = 1e6;

[[noreturn]] void reject(std::string_view variable, std::string_view value, std::string_view accepted) {
  throw Error(ErrorCode::environment,
              diagnostics::format("{}=\"{}\" cannot be read; accepted: {}", variable, value, accepted));
}

LogLevel parse_log_level(std::string_view value) {
  static constexpr std::array<std::pair<std::string_view, LogLevel>, 5> kLevels{{{"off", LogLevel::off},
                                                                                 {"error", LogLevel::error},
                                                                                 {"warn", LogLevel::warn},
                                                                                 {"info", LogLevel::info},
                                                                                 {"debug", LogLevel::debug}}};
  for (const auto& [text, level] : kLevels) {
    if (text == value) return level;
  }
  reject("RAILYARD_LOG", value, "off, error, warn, info, debug");
}

std::chrono::nanoseconds parse_timeout(std::string_view value) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (error != std::errc{} || end != value.data() + value.size() || !(seconds > 0) || seconds > kMaxTimeoutSeconds) {
    reject("RAILYARD_TIMEOUT_S", value, "seconds above 0, at most 1000000");
  }
  const auto timeout = std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
  if (timeout.count() < 1) reject("RAILYARD_TIMEOUT_S", value, "seconds above 0, at most 1000000");
  return timeout;
}

int parse_debug(std::string_view value) {
  if (value == "0") return 0;
  if (value == "1") return 1;
  reject("RAILYARD_DEBUG", value, "0, 1");
}

GpuHandles parse_gpu_handles(std::string_view value) {
  for (const GpuHandles handles : {GpuHandles::fd, GpuHandles::fabric}) {
    if (name(handles) == value) return handles;
  }
  reject("RAILYARD_GPU_HANDLES", value, "fd, fabric");
}

Endpoint parse_rendezvous(std::string_view value) {
  std::optional<Endpoint> endpoint = parse_endpoint(value);
  if (!endpoint) reject("RAILYARD_RENDEZVOUS", value, "HOST:PORT with a port from 1 to 65535");
  return std::move(*endpoint);
}

// What it is stays out of the message.
std::string parse_secret(std::string_view value) {
  if (value.size() > kMaxSecretBytes) {
    throw Error(ErrorCode::environment,
                diagnostics::format("RAILYARD_SECRET has {} bytes; at most {}", value.size(), kMaxSecretBytes));
  }
  return std::string(value);
}

std::string parse_trace_file(std::string_view value) {
  if (value.empty()) reject("RAILYARD_TRACE", value, "a file name");
  return std::string(value);
}

struct Variable {
  const char* name;
  void (*read)(Environment& environment, std::string_view value);
};

constexpr std::array kVariables{
    Variable{"RAILYARD_LOG", [](Environment& to, std::string_view value) { to.log_level = parse_log_level(value); }},
    Variable{"RAILYARD_TIMEOUT_S", [](Environment& to, std::string_view value) { to.timeout = parse_timeout(value); }},
    Variable{"RAILYARD_DEBUG", [](Environment& to, std::string_view value) { to.debug = parse_debug(value); }},
    Variable{"RAILYARD_GPU_HANDLES",
             [](Environment& to, std::string_view value) { to.gpu_handles = parse_gpu_handles(value); }},
    Variable{"RAILYARD_RENDEZVOUS",
             [](Environment& to, std::string_view value) { to.rendezvous = parse_rendezvous(value); }},
    Variable{"RAILYARD_SECRET", [](Environment& to, std::string_view value) { to.secret = parse_secret(value); }},
    Variable{"RAILYARD_TRACE",
             [](Environment& to, std::string_view value) { to.trace_file = parse_trace_file(value); }},
};

void read(const Variable& variable, Environment& environment) {
  if (const char* value = std::getenv(variable.name)) variable.read(environment, value);
}

}  // namespace

Environment read_environment() {
  Environment environment;
  for (const Variable& variable : kVariables) read(variable, environment);
  return environment;
}

std::vector<std::string> environment_faults() {
  std::vector<std::string> faults;
  Environment environment;
  for (const Variable& variable : kVariables) {
    try {
      read(variable, environment);
    } catch (const Error& error) {
      faults.emplace_back(error.what());
    }
  }
  return faults;
}

std::vector<std::string> unread_variables() {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    const bool known = std::ranges::any_of(kVariables, [&](const Variable& variable) { return name == variable.name; });
    if (name.starts_with("RAILYARD_") && !known) names.emplace_back(name);
  }
  return names;
}

}  // namespace railyard::diagnostics
