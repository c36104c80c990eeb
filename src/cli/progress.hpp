// SPDX-License-Identifier: Apache-2.0
// A progress bar on standard error, if that is a terminal and the work takes more than a second.
#pragma once

#include <chrono>
#include <cstddef>

namespace railyard::cli {

class Progress {
 public:
  explicit Progress(std::size_t steps);
  /// Removes the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance();

 private:
  std::size_t steps_;
  std::size_t done_ = 0;
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace railyard::cli
