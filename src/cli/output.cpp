// SPDX-License-Identifier: Apache-2.0
#include "cli/output.hpp"

#include <railyard/error.hpp>

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>

namespace railyard::cli {

namespace {

Error not_writable(const std::string& json_path) {
  return {ErrorCode::invalid_argument, "--json: '" + json_path + "' cannot be written: " + std::strerror(errno)};
}

}  // namespace

std::FILE* text_stream(const std::string& json_path) { return json_path == "-" ? stderr : stdout; }

void require_writable(const std::string& json_path) {
  if (json_path.empty() || json_path == "-") {
    return;
  }
  std::FILE* file = std::fopen(json_path.c_str(), "a");
  if (file == nullptr || std::fclose(file) != 0) {
    throw not_writable(json_path);
  }
}

void write_json(const std::string& json_path, const nlohmann::ordered_json& document) {
  if (json_path.empty()) {
    return;
  }
  const std::string text = document.dump(2) + "\n";
  std::FILE* file = json_path == "-" ? stdout : std::fopen(json_path.c_str(), "w");
  const bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = file == nullptr || (json_path == "-" ? std::fflush(file) : std::fclose(file)) == 0;
  if (!written || !closed) {
    throw not_writable(json_path);
  }
}

}  // namespace railyard::cli
