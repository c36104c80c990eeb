// SPDX-License-Identifier: Apache-2.0
// Bounded waits on words that peers advance. No other host code waits.
#pragma once

#include "bootstrap/abort_flag.hpp"
#include "diagnostics/log.hpp"
#include "diagnostics/random_delay.hpp"
#include "diagnostics/trace.hpp"
#include "transports/stage.hpp"

#include <railyard/wait_statistics.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::transports {

/// What a wait is for, as its error says it.
struct WaitSite {
  std::string_view operation;
  Stage stage;
  std::uint64_t epoch;
};

/// One rank's way of waiting. `wait_for_all` is called by the rank's thread, `set_timeout` too.
class Waiter {
 public:
  Waiter(int rank, int num_ranks, std::chrono::nanoseconds timeout, std::shared_ptr<bootstrap::AbortFlag> world_abort,
         std::shared_ptr<bootstrap::AbortFlag> group_abort, std::shared_ptr<diagnostics::Log> log)
      : rank_(rank),
        peers_(static_cast<std::size_t>(num_ranks)),
        timeout_(timeout),
        world_abort_(std::move(world_abort)),
        group_abort_(std::move(group_abort)),
        log_(std::move(log)) {
    std::iota(peers_.begin(), peers_.end(), 0);
    statistics_.peers.resize(peers_.size());
    missing_.reserve(peers_.size());
  }

  /// Whom to wait for, this rank included; first all.
  void set_peers(std::vector<int> peers) { peers_ = std::move(peers); }
  /// Waits end with their peers, not with the deadline: each deadline that passes is a warning that names the missing.
  void set_patient(bool patient) noexcept { patient_ = patient; }

  void set_timeout(std::chrono::nanoseconds timeout) noexcept { timeout_ = timeout; }
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return timeout_; }
  /// Waits of the slow path become events within the stage that the track is in.
  void set_trace(std::shared_ptr<diagnostics::TraceTrack> trace) noexcept { trace_ = std::move(trace); }

  /// Returns when `word(peer)` has reached `expected` for every one of the peers, by signed difference. Each word is
  /// read with acquire. Spins briefly, then yields, then sleeps: ranks may outnumber cores. Throws RY-TIMEOUT naming
  /// operation, stage, epoch and the missing peers with what was seen, or RY-ABORTED. At a tenth of the deadline it
  /// logs a warning. Only a wait that does not find everyone there looks at a clock, and is counted (statistics()).
  template <typename Word>
  void wait_for_all(const WaitSite& site, std::uint64_t expected, Word word) {
    const auto read = [&](int peer) { return load_acquire(word(peer)); };
    wait_for_all(site, expected, word, read);
  }
  /// The same; what was seen of a peer is `latest(peer)`, where its word alone would say too little. It has reached
  /// `expected` only if the word has.
  template <typename Word, typename Latest>
  void wait_for_all(const WaitSite& site, std::uint64_t expected, Word word, const Latest& latest) {
    for (const int peer : peers_) {
      if (!reached(load_acquire(word(peer)), expected)) {
        return wait_slowly(
            site, expected, [&](int index) { return load_acquire(word(index)); }, std::cref(latest));
      }
    }
  }

  [[nodiscard]] const WaitStatistics& statistics() const noexcept { return statistics_; }
  /// Counts on from there.
  void set_statistics(WaitStatistics statistics) { statistics_ = std::move(statistics); }

  static void store_release(std::uint64_t& word, std::uint64_t value) noexcept {
    diagnostics::random_delay();
    std::atomic_ref(word).store(value, std::memory_order_release);
  }
  static void add_release(std::uint64_t& word, std::uint64_t value) noexcept {
    diagnostics::random_delay();
    std::atomic_ref(word).fetch_add(value, std::memory_order_release);
  }
  [[nodiscard]] static std::uint64_t load_acquire(std::uint64_t& word) noexcept {
    diagnostics::random_delay();
    return std::atomic_ref(word).load(std::memory_order_acquire);
  }
  [[nodiscard]] static bool reached(std::uint64_t seen, std::uint64_t expected) noexcept {
    return static_cast<std::int64_t>(seen - expected) >= 0;
  }

 private:
  using Read = std::function<std::uint64_t(int)>;
  class Charge;
  void wait_slowly(const WaitSite& site, std::uint64_t expected, const Read& read, const Read& latest);
  void wait_for_missing(const WaitSite& site, std::uint64_t expected, const Read& read, const Read& latest,
                        Charge& charge);
  void throw_if_aborted(const WaitSite& site) const;
  void warn(const WaitSite& site, std::chrono::nanoseconds waited, std::uint64_t expected, const Read& latest) const;
  [[nodiscard]] std::string list_missing(std::uint64_t expected, const Read& latest) const;

  int rank_;
  std::vector<int> peers_;
  std::chrono::nanoseconds timeout_;
  std::shared_ptr<bootstrap::AbortFlag> world_abort_;
  std::shared_ptr<bootstrap::AbortFlag> group_abort_;
  std::shared_ptr<diagnostics::Log> log_;
  std::shared_ptr<diagnostics::TraceTrack> trace_;  // or null
  bool patient_ = false;
  WaitStatistics statistics_;
  std::vector<int> missing_;  // of the wait under way
};

}  // namespace railyard::transports
