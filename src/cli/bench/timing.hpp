// SPDX-License-Identifier: Apache-2.0
// Timing of work that all ranks do at once.
#pragma once

#include <railyard/world.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

namespace railyard::cli::bench {

/// Lets all ranks go at the same moment, again and again. Spins for a short while, then yields, so that more ranks than
/// cores work too. Processes may share it.
class StartLine {
 public:
  explicit StartLine(int ranks) noexcept : ranks_(ranks) {}
  /// True when all have come, false after `fail`.
  [[nodiscard]] bool wait() noexcept;
  /// Sends everyone who waits, or comes later, home.
  void fail() noexcept;

 private:
  std::int32_t ranks_;
  std::atomic<std::int32_t> arrived_{0};
  std::atomic<std::uint32_t> round_{0};
  std::atomic<bool> failed_{false};
};

/// Microseconds of the slowest rank, by iteration.
class Series {
 public:
  explicit Series(std::vector<double> microseconds);
  [[nodiscard]] double median() const;
  /// The smallest value that at least 99 % of the iterations do not exceed.
  [[nodiscard]] double p99() const;
  [[nodiscard]] std::size_t size() const noexcept { return sorted_.size(); }

 private:
  std::vector<double> sorted_;
};

/// Both are called by every rank in its thread; `iteration` counts from 0 through warmup and measurement.
struct TimedWork {
  std::function<void(int rank, int iteration)> prepare = [](int, int) {};  // not timed
  std::function<void(int rank, int iteration)> work;                       // timed from a common start
};

[[nodiscard]] Series time_together(World& world, int warmup, int iterations, const TimedWork& timed);

/// Several works in turn within every iteration, so that whatever disturbs the machine disturbs all of them: what is
/// compared is measured this way. One Series per work.
[[nodiscard]] std::vector<Series> time_in_turn(World& world, int warmup, int iterations,
                                               const std::vector<TimedWork>& works);

}  // namespace railyard::cli::bench
