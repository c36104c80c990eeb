// SPDX-License-Identifier: Apache-2.0
#include "cli/output.hpp"

#include <railyard/error.hpp>

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>

namespace railyard::cli {

namespace {

Error not_writable(std::string_view option, const std::string& path) {
  return {ErrorCode::invalid_argument,
          std::string(option) + ": '" + path + "' cannot be written: " + std::strerror(errno)};
}

}  // namespace

std::FILE* text_stream(const std::string& json_path) { return json_path == "-" ? stderr : stdout; }

void require_writable(std::string_view option, const std::string& path) {
  if (path.empty() || path == "-") {
    return;
  }
  std::FILE* file = std::fopen(path.c_str(), "a");
  if (file == nullptr || std::fclose(file) != 0) {
    throw not_writable(option, path);
  }
}

void write_text(std::string_view option, const std::string& path, const std::string& text) {
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  const bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = file == nullptr || (path == "-" ? std::fflush(file) : std::fclose(file)) == 0;
  if (!written || !closed) {
    throw not_writable(option, path);
  }
}

void flush_standard_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw Error(ErrorCode::invalid_argument, std::string("standard output cannot be written: ") +
                                               (errno == 0 ? "some of it is lost" : std::strerror(errno)));
}

void write_json(const std::string& json_path, const nlohmann::ordered_json& document) {
  if (!json_path.empty()) {
    // Names and values of others' may be no UTF-8: they do not keep the rest from being written.
    constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
    write_text("--json", json_path, document.dump(2, ' ', false, kReplace) + "\n");
  }
}

}  // namespace railyard::cli
