// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include "diagnostics/format.hpp"

#include <unistd.h>

#include <cstdio>
#include <string>

namespace railyard::cli {

Progress::Progress(std::size_t steps)
    : steps_(steps), terminal_(isatty(STDERR_FILENO) == 1), start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (drawn_) {
    std::fputs("\r\033[K", stderr);
  }
}

void Progress::advance() {
  constexpr std::size_t kWidth = 40;
  ++done_;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  if (!terminal_ || seconds < 1.0) {
    return;
  }
  const std::size_t filled = done_ * kWidth / steps_;
  const double left = seconds * static_cast<double>(steps_ - done_) / static_cast<double>(done_);
  diagnostics::print(stderr, "\r[{}{}] step {} of {}, {:.0f} s left \033[K", std::string(filled, '='),
                     std::string(kWidth - filled, ' '), done_, steps_, left);
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace railyard::cli
