// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/timing.hpp"

#include "cli/bench/together.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>

namespace railyard::cli::bench {
namespace {

/// Looks before the processor is offered to others: a few microseconds.
constexpr int kSpins = 2000;

using Clock = std::chrono::steady_clock;

}  // namespace

bool StartLine::wait() noexcept {
  const std::uint32_t round = round_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == ranks_) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_release);
  }
  for (int look = 0; round_.load(std::memory_order_acquire) == round; ++look) {
    if (failed_.load(std::memory_order_acquire)) {
      return false;
    }
    if (look >= kSpins) {
      sched_yield();
    }
  }
  return !failed_.load(std::memory_order_acquire);
}

void StartLine::fail() noexcept { failed_.store(true, std::memory_order_release); }

Series::Series(std::vector<double> microseconds) : sorted_(std::move(microseconds)) {
  std::sort(sorted_.begin(), sorted_.end());
}

double Series::median() const {
  const std::size_t middle = sorted_.size() / 2;
  return sorted_.size() % 2 == 1 ? sorted_[middle] : (sorted_[middle - 1] + sorted_[middle]) / 2.0;
}

double Series::p99() const {
  const std::size_t rank = (sorted_.size() * 99 + 99) / 100;  // ceil(0.99 n), counted from 1
  return sorted_[rank - 1];
}

Series time_together(World& world, int warmup, int iterations, const TimedWork& timed) {
  return time_in_turn(world, warmup, iterations, {timed}).front();
}

std::vector<Series> time_in_turn(World& world, int warmup, int iterations, const std::vector<TimedWork>& works) {
  using Table = std::vector<double>;  // [rank][iteration]
  const auto count = static_cast<std::size_t>(iterations);
  const auto ranks = static_cast<std::size_t>(world.size());
  std::vector<Table> microseconds(works.size(), Table(ranks * count));
  const Shared<StartLine> shared_line(world, world.size());
  StartLine& line = *shared_line;
  world.run([&](Rank& rank) {
    try {
      for (int iteration = 0; iteration < warmup + iterations; ++iteration) {
        for (std::size_t work = 0; work < works.size(); ++work) {
          works[work].prepare(rank.index(), iteration);
          if (!line.wait()) {
            return;
          }
          const auto start = Clock::now();
          works[work].work(rank.index(), iteration);
          const std::chrono::duration<double, std::micro> elapsed = Clock::now() - start;
          if (iteration >= warmup) {
            microseconds[work][static_cast<std::size_t>(rank.index()) * count +
                               static_cast<std::size_t>(iteration - warmup)] = elapsed.count();
          }
        }
      }
    } catch (...) {
      line.fail();
      throw;
    }
  });
  std::vector<Series> result;
  for (Table& table : microseconds) {
    gather_by_rank(world, table);
    std::vector<double> slowest(count);
    for (std::size_t index = 0; index < table.size(); ++index) {
      slowest[index % count] = std::max(slowest[index % count], table[index]);
    }
    result.emplace_back(std::move(slowest));
  }
  return result;
}

}  // namespace railyard::cli::bench
