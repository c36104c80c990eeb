// SPDX-License-Identifier: Apache-2.0
// Faults of processes, for the chaos tests of all backends.
#pragma once

#include "multi_rank/process_world.hpp"

#include <railyard/error.hpp>

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>

namespace railyard::multi_rank {

enum class Fault : std::uint8_t {
  killed,         // SIGKILL
  stopped,        // SIGSTOP, resumed after the others have given up
  exits,          // _exit(0), without a word
  throws,         // its function ends with an exception
  other_config,   // its group has other options
  wrong_ids,      // ids beyond the experts: a status, no failure
  no_rendezvous,  // SIGKILL to the process in which all have met: the world is over, the ranks live
};
inline constexpr std::array kFaultNames{"killed",       "stopped",   "exits",        "throws",
                                        "other_config", "wrong_ids", "no_rendezvous"};

/// What ranks are told whose rendezvous has gone.
inline constexpr const char* kNoRendezvous = "the rendezvous: its process has gone";

/// Whom a fault is to hit, and where all have met.
struct FaultPlan {
  Fault fault = Fault::killed;
  int ranks = 0;
  int victim = 0;
  ProcessWorld::Meeting meeting = ProcessWorld::Meeting::shared_page;

  /// A process that has gone, or does not come, is masked; with rank 0's the rendezvous has gone, unless it is
  /// elsewhere (then one of two is no majority), and with an exception the rank ends the world.
  [[nodiscard]] bool others_go_on() const {
    return (victim != 0 || (meeting == ProcessWorld::Meeting::external && ranks > 2)) &&
           (fault == Fault::killed || fault == Fault::exits || fault == Fault::stopped);
  }
  /// Whether the rank is to be told, in time. The rendezvous has another process than the rank that ends it.
  [[nodiscard]] bool survives(int rank) const { return rank != victim || fault == Fault::no_rendezvous; }
  /// Whether a survivor may be told this: by its deadline, by the rendezvous that a process has gone, or by another
  /// survivor whose deadline has passed; where the rendezvous has gone, that.
  [[nodiscard]] bool is_clear(const Error& error) const {
    const std::string text = error.what();
    const auto says = [&](const std::string& words) { return text.find(words) != text.npos; };
    const bool is_over = error.code() == ErrorCode::aborted || error.code() == ErrorCode::suspended;
    if (fault == Fault::no_rendezvous) return is_over && says(kNoRendezvous);
    if (says("calls the group's ranks to recover") && !others_go_on()) return false;
    const bool code = is_over || error.code() == ErrorCode::timeout || error.code() == ErrorCode::config_mismatch;
    return code && says("rank " + std::to_string(victim));
  }
};

/// When the fault happened, when the last survivor was told, and when it worked again, for all processes to see.
struct FaultTimes {
  std::atomic<std::int64_t> fault_ns{0};
  std::atomic<std::int64_t> slowest_ns{0};
  std::atomic<std::int64_t> recovered_ns{0};
  std::atomic<pid_t> rendezvous{0};  // once it is known

  [[nodiscard]] static std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
  static void raise_to(std::atomic<std::int64_t>& most, std::int64_t ns) {
    for (std::int64_t seen = most.load(); ns > seen && !most.compare_exchange_weak(seen, ns);) {
    }
  }
  void end_rendezvous() const {
    while (rendezvous.load() == 0) std::this_thread::yield();
    if (::kill(rendezvous.load(), SIGKILL) != 0) throw std::runtime_error("the rendezvous was not there");
  }
};

}  // namespace railyard::multi_rank
