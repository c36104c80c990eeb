// SPDX-License-Identifier: Apache-2.0
// A world whose ranks are processes, forked by the test. They meet through a page that they share, as they would
// through a library that launched them, or at a rendezvous in a process that is no rank.
#pragma once

#include "multi_rank/process_shared.hpp"
#include "multi_rank/report.hpp"

#include <railyard/world.hpp>

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace railyard::multi_rank {

class ProcessWorld {
 public:
  static constexpr int kMaxRanks = 16;
  using Preparation = std::function<void(int rank, WorldOptions& options)>;
  enum class Meeting : std::uint8_t { shared_page, external };

  /// Forks a process per rank; each runs `body` in its world, and tells what its copy of `report` holds then, and what
  /// was thrown.
  /// A process that hangs is killed after three case deadlines. The caller has no other thread. `prepare` runs first in
  /// each process, and may change what its world is made with.
  ProcessWorld(int ranks, const WorldOptions& options, const std::function<void(Rank&)>& body, Report& report,
               const Preparation& prepare = {}, Meeting meeting = Meeting::shared_page);
  ~ProcessWorld();
  ProcessWorld(const ProcessWorld&) = delete;
  ProcessWorld& operator=(const ProcessWorld&) = delete;

  [[nodiscard]] pid_t process(int rank) const { return children_[static_cast<std::size_t>(rank)].process; }
  /// That of Meeting::external, until this is destroyed; else 0.
  [[nodiscard]] pid_t rendezvous() const { return rendezvous_; }
  /// Returns once the rank's process has stopped, or ended.
  void wait_until_stopped(int rank) const;
  /// Waits until the rank's process has ended, adds what it reported to `report`, and returns its status (waitpid).
  [[nodiscard]] int finish(int rank, Report& report);
  /// Waits for all. The others end with status 0, and what they reported is added to `report`. The victim is resumed
  /// once they have ended; what it says is its own affair, as long as it ends: by `signal`, or with status 0 if that is
  /// 0.
  void finish_with_victim(int victim, int signal, Report& report);
  /// `finish`, and adds to `report` if the status is not 0.
  void require_success(int rank, Report& report);

 private:
  class SharedPage;
  struct Child {
    pid_t process = 0;
    int output = -1;
  };

  void start_rendezvous(int ranks);
  [[nodiscard]] Child start(int rank, WorldOptions options, const std::function<void(Rank&)>& body,
                            const Preparation& prepare);

  Report& report_;  // of a child: its own copy
  std::unique_ptr<ProcessShared<SharedPage>> page_;
  pid_t rendezvous_ = 0;  // the process that is no rank; 0: there is none
  std::uint16_t rendezvous_port_ = 0;
  std::vector<Child> children_;  // by rank
};

/// `body` once per rank, each in a process of its own. What went wrong is in `report` when all have ended.
void run_processes(int ranks, const WorldOptions& options, const std::function<void(Rank&)>& body, Report& report,
                   const ProcessWorld::Preparation& prepare = {});

}  // namespace railyard::multi_rank
