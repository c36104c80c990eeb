// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best: the figures that results stand beside.
#pragma once

#include "cli/bench/buffer.hpp"
#include "cli/bench/options.hpp"
#include "cli/bench/timing.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace railyard::cli::bench {

/// Sets of buffers where they are used again: in one an operation's results are held while the next one runs.
inline constexpr int kReusedSlots = 2;

/// How many slots of `bytes` each, all ranks together, exceed the last-level cache `times` times: at least 2, at
/// most 64.
[[nodiscard]] int slots_beyond_cache(std::size_t bytes, std::size_t times);

/// Copies of so many bytes by rank, `bytes[r]` by rank r in one memcpy, from and to memory whose pages are there and
/// that has left the caches; with `reuse_buffers`, that was copied two iterations before.
class Copies {
 public:
  Copies(World& world, std::uint64_t seed, const std::vector<std::int64_t>& bytes, bool reuse_buffers = false);

  /// What all ranks do at once, to be timed.
  [[nodiscard]] TimedWork timed();
  [[nodiscard]] int num_slots() const noexcept { return slots_; }
  /// Of the rank that copies most.
  [[nodiscard]] std::int64_t most_bytes() const noexcept { return most_bytes_; }
  /// Whether every copy of this process's ranks equals its source. After at least `num_slots()` iterations.
  [[nodiscard]] bool verified() const;

 private:
  struct Pair {
    Buffer source;
    Buffer destination;
  };

  int slots_;
  std::int64_t most_bytes_;
  std::vector<std::vector<Pair>> pairs_;  // [rank][slot]
};

/// One way of a flag between the first two ranks, in microseconds: half of a round trip of release stores and acquire
/// loads. 0 if there is only one rank.
struct FlagLatency {
  double median_us = 0.0;
  double p99_us = 0.0;
  bool measured = false;
};
[[nodiscard]] FlagLatency measure_flag(World& world, const Options& options);

struct EncodeRate {
  double median_us = 0.0;  // slowest rank, for `bytes` of input each
  double p99_us = 0.0;
  std::int64_t bytes = 0;
  bool verified = false;  // equal to the scalar encoder

  /// Input read per core.
  [[nodiscard]] double gigabytes_per_second() const { return static_cast<double>(bytes) / median_us * 1e-3; }
};

/// Every rank encodes `tokens` bf16 rows into `codec`, a rank per thread, input beyond the caches; `verified`: those of
/// this process.
[[nodiscard]] EncodeRate measure_encode(World& world, const Options& options, Codec codec, int tokens);

}  // namespace railyard::cli::bench
