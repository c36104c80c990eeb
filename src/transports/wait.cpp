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

WaitTotals& of_stage(StageWaits& waits, Stage stage) {
  switch (stage) {
    case Stage::slot:
      return waits.slot;
    case Stage::exchange:
      return waits.exchange;
    case Stage::readers:
      return waits.readers;
    default:  // no other stage waits
      return waits.arrival;
  }
}

}  // namespace

// One wait for the peers of `missing_`: charges each with the time until it was seen, or until the wait gave up.
class Waiter::Charge {
 public:
  Charge(Waiter& waiter, Stage stage, Clock::time_point begin)
      : waiter_(waiter), stage_(stage), begin_(begin), num_missing_(waiter.missing_.size()) {}
  ~Charge() {
    if (!waiter_.missing_.empty()) charge_from(waiter_.missing_.begin());
    add(waiter_.statistics_.all);
    if (waiter_.trace_) {
      waiter_.trace_->waited(begin_.time_since_epoch().count(), now_.time_since_epoch().count(), last_peer_,
                             static_cast<int>(num_missing_));
    }
  }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

  [[nodiscard]] Clock::time_point begin() const noexcept { return begin_; }

  /// Looks at every missing peer once, or if `briefly` at the others only if the first has come: a look at many words
  /// at each spin makes ranks that outnumber the cores spin longer. Returns whether all have come.
  bool look(std::uint64_t expected, const Read& read, bool briefly) {
    std::vector<int>& missing = waiter_.missing_;
    if (briefly && !reached(read(missing.front()), expected)) return false;
    auto kept = missing.begin();
    for (auto peer = missing.begin(); peer != missing.end(); ++peer) {
      if (!reached(read(*peer), expected)) std::iter_swap(kept++, peer);
    }
    if (kept == missing.end()) return false;
    charge_from(kept);
    missing.erase(kept, missing.end());
    return missing.empty();
  }

 private:
  void charge_from(std::vector<int>::const_iterator first) {
    now_ = Clock::now();
    last_peer_ = *first;
    for (; first != waiter_.missing_.end(); ++first) add(waiter_.statistics_.peers[static_cast<std::size_t>(*first)]);
  }
  void add(StageWaits& waits) const {
    WaitTotals& totals = of_stage(waits, stage_);
    const std::chrono::nanoseconds waited = now_ - begin_;
    ++totals.count;
    totals.total += waited;
    totals.longest = std::max(totals.longest, waited);
  }

  Waiter& waiter_;
  Stage stage_;
  Clock::time_point begin_;
  Clock::time_point now_;
  std::size_t num_missing_;
  int last_peer_ = -1;
};

void Waiter::wait_slowly(const WaitSite& site, std::uint64_t expected, const Read& read, const Read& latest) {
  const Clock::time_point begin = Clock::now();
  missing_.clear();
  for (const int peer : peers_) {
    if (!reached(read(peer), expected)) missing_.push_back(peer);
  }
  if (missing_.empty()) return;
  Charge charge(*this, site.stage, begin);
  wait_for_missing(site, expected, read, latest, charge);
}

void Waiter::wait_for_missing(const WaitSite& site, std::uint64_t expected, const Read& read, const Read& latest,
                              Charge& charge) {
  std::chrono::nanoseconds warn_after = timeout_ / 10;
  Backoff backoff;
  do {
    backoff.step();
    if (backoff.cheap()) continue;
    throw_if_aborted(site);
    const auto waited = Clock::now() - charge.begin();
    // Before the deadline is looked at: a thread that was not run for long says who was missing all the same.
    if (waited >= warn_after) {
      warn(site, waited, expected, latest);
      if (!patient_) {
        warn_after = std::chrono::nanoseconds::max();
      } else {
        warn_after = warn_after < timeout_ ? timeout_ : warn_after + timeout_;
      }
    }
    if (waited >= timeout_ && !patient_) {
      const std::string missing = list_missing(expected, latest);
      if (missing.empty()) continue;  // the last one came this instant
      throw Error(
          ErrorCode::timeout,
          diagnostics::format("rank {}: {}, stage {}, epoch {}: no answer within {} ms from {}", rank_, site.operation,
                              name(site.stage), site.epoch,
                              std::chrono::duration_cast<std::chrono::milliseconds>(timeout_).count(), missing));
    }
  } while (!charge.look(expected, read, backoff.cheap()));
}

void Waiter::warn(const WaitSite& site, std::chrono::nanoseconds waited, std::uint64_t expected,
                  const Read& latest) const {
  const std::string missing = list_missing(expected, latest);
  if (missing.empty()) return;  // the last one came this instant
  log_->write(LogLevel::warn,
              diagnostics::format("rank {}: {}, stage {}, epoch {}: waiting since {} ms for {}", rank_, site.operation,
                                  name(site.stage), site.epoch,
                                  std::chrono::duration_cast<std::chrono::milliseconds>(waited).count(), missing));
}

std::string Waiter::list_missing(std::uint64_t expected, const Read& latest) const {
  std::string missing;
  for (const int peer : peers_) {
    const std::uint64_t seen = latest(peer);
    if (reached(seen, expected)) continue;
    if (!missing.empty()) missing += ", ";
    missing += diagnostics::format("rank {} (expected {}, seen {})", peer, expected, seen);
  }
  return missing;
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
