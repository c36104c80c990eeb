// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/available_memory.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace railyard::symmetric_memory {
namespace {

constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kMostStep = std::size_t{64} << 20;

// The number that `text` begins with; nothing for "max", and for what has no number that fits.
std::optional<std::size_t> number_of(std::string_view text) {
  std::size_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc{}) return std::nullopt;
  return number;
}

// The file's only number; nothing if it cannot be read.
std::optional<std::size_t> read_number(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string text;
  in >> text;
  return number_of(text);
}

// The number behind `key`, the first word of a line.
std::optional<std::size_t> read_field(const std::filesystem::path& file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!std::string_view(line).starts_with(key)) continue;
    const std::size_t digit = line.find_first_of("0123456789", key.size());
    if (digit != std::string::npos) return number_of(std::string_view(line).substr(digit));
  }
  return std::nullopt;
}

struct ControlGroupFiles {
  std::filesystem::path root;
  std::string_view limit;
  std::string_view used;
  std::string_view files;  // field of memory.stat
};

// What `group` and those above it leave.
std::size_t available_in(const ControlGroupFiles& names, const std::string& group) {
  std::size_t available = kUnlimited;
  for (std::filesystem::path place = std::filesystem::path(group).relative_path();; place = place.parent_path()) {
    const std::filesystem::path directory = names.root / place;
    const auto limit = read_number(directory / names.limit);
    const auto used = read_number(directory / names.used);
    if (limit && used) {
      const std::size_t held = *used - std::min(*used, read_field(directory / "memory.stat", names.files).value_or(0));
      available = std::min(available, *limit - std::min(*limit, held));
    }
    if (place.empty()) return available;
  }
}

}  // namespace

std::size_t available_memory(const std::filesystem::path& root) {
  const auto kilobytes = read_field(root / "proc/meminfo", "MemAvailable:");
  std::size_t available = kilobytes ? *kilobytes * 1024 : kUnlimited;
  std::ifstream groups(root / "proc/self/cgroup");  // lines of "<number>:<controllers>:<path>"
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = ',' + line.substr(first + 1, second - first - 1) + ',';
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      available = std::min(available, available_in({.root = root / "sys/fs/cgroup",
                                                    .limit = "memory.max",
                                                    .used = "memory.current",
                                                    .files = "inactive_file"},
                                                   path));
    } else if (controllers.find(",memory,") != std::string::npos) {
      available = std::min(available, available_in({.root = root / "sys/fs/cgroup/memory",
                                                    .limit = "memory.limit_in_bytes",
                                                    .used = "memory.usage_in_bytes",
                                                    .files = "total_inactive_file"},
                                                   path));
    }
  }
  return available;
}

std::size_t next_step(std::size_t wanted, std::size_t available) noexcept {
  const std::size_t share = std::min(kMostStep, available / kMostTakers);
  return std::min(wanted, share / kLeastStep * kLeastStep);
}

}  // namespace railyard::symmetric_memory
