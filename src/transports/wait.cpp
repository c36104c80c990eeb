// SPDX-License-Identifier: Apache-2.0
#include "transports/wait.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <string>
#include <thread>

namespace railyard::transports {
namespace {

using Clock = std::chrono::steady_clock;

void pause_briefly() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spin for the case that the peer runs beside us, yield for the case that it waits for this core, then sleep longer and
// longer (at most a millisecond) so that a world of many more ranks than cores makes progress.
class Backoff {
 public:
  void step() {
    if (steps_ < kSpins) {
      pause_briefly();
    } else if (steps_ < kSpins + kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(sleep_);
      sleep_ = std::min(sleep_ * 2, kLongestSleep);
    }
    ++steps_;
  }
  [[nodiscard]] bool cheap() const noexcept { return steps_ < kSpins; }

 private:
  static constexpr int kSpins = 256;
  static constexpr int kYields = 4096;
  static constexpr std::chrono::microseconds kLongestSleep{1000};
  int steps_ = 0;
  std::chrono::microseconds sleep_{20};
};

std::string list_missing(int num_ranks, std::uint64_t expected, const std::function<std::uint64_t(int)>& read) {
  std::string missing;
  for (int peer = 0; peer < num_ranks; ++peer) {
    const std::uint64_t seen = read(peer);
    if (Waiter::reached(seen, expected)) continue;
    if (!missing.empty()) missing += ", ";
    missing += diagnostics::format("rank {} (expected {}, seen {})", peer, expected, seen);
  }
  return missing;
}

}  // namespace

void Waiter::wait_slowly(const WaitSite& site, std::uint64_t expected,
                         const std::function<std::uint64_t(int)>& read) const {
  const auto begin = Clock::now();
  bool warned = false;
  Backoff backoff;
  for (int peer = 0; peer < num_ranks_;) {
    if (reached(read(peer), expected)) {
      ++peer;
      continue;
    }
    backoff.step();
    if (backoff.cheap()) continue;
    throw_if_aborted(site);
    const auto waited = Clock::now() - begin;
    // Before the deadline is looked at: a thread that was not run for long says who was missing all the same.
    if (!warned && waited >= timeout_ / 10) {
      warned = true;
      log_->write(LogLevel::warn,
                  diagnostics::format("rank {}: {}, stage {}, epoch {}: waiting since {} ms for {}", rank_,
                                      site.operation, name(site.stage), site.epoch,
                                      std::chrono::duration_cast<std::chrono::milliseconds>(waited).count(),
                                      list_missing(num_ranks_, expected, read)));
    }
    if (waited >= timeout_) {
      const std::string missing = list_missing(num_ranks_, expected, read);
      if (missing.empty()) return;  // the last one came this instant
      throw Error(
          ErrorCode::timeout,
          diagnostics::format("rank {}: {}, stage {}, epoch {}: no answer within {} ms from {}", rank_, site.operation,
                              name(site.stage), site.epoch,
                              std::chrono::duration_cast<std::chrono::milliseconds>(timeout_).count(), missing));
    }
  }
}

void Waiter::throw_if_aborted(const WaitSite& site) const {
  for (const auto& flag : {group_abort_, world_abort_}) {
    if (flag->raised()) {
      throw Error(ErrorCode::aborted, diagnostics::format("rank {}: {}, stage {}, epoch {}: {}", rank_, site.operation,
                                                          name(site.stage), site.epoch, flag->reason()));
    }
  }
}

}  // namespace railyard::transports
