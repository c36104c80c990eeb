// SPDX-License-Identifier: Apache-2.0
// What a world warns of late peers. Where ranks are processes, each sees its own.
#pragma once

#include <railyard/log.hpp>

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::multi_rank {

class Warnings {
 public:
  /// For WorldOptions::log; this lives longer.
  [[nodiscard]] LogCallback callback() {
    return [this](LogLevel level, std::string_view line) {
      const std::lock_guard lock(mutex_);
      if (level == LogLevel::warn) lines_.emplace_back(line);
    };
  }
  [[nodiscard]] std::vector<std::string> of(int rank) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> lines;
    for (const std::string& line : lines_) {
      if (line.starts_with("rank " + std::to_string(rank) + ": ") && line.find("waiting since ") != line.npos) {
        lines.push_back(line);
      }
    }
    return lines;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace railyard::multi_rank
