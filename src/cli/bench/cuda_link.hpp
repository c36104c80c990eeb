// SPDX-License-Identifier: Apache-2.0
// What links between GPUs, and a GPU's own memory, do at best. Nothing else may run on these GPUs meanwhile.
#pragma once

#include "cli/bench/limits.hpp"
#include "cli/bench/pair_rate.hpp"
#include "cli/bench/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace railyard::cli::bench {

/// What one kind of copy did, all GPUs at once: each to, or from, the next, so that both directions are busy.
struct LinkFigure {
  MeasuredRate rate;
  Times times;
  bool verified = false;
};

struct LinkPlan {
  std::vector<int> devices;  // each once
  std::int64_t bytes = 0;    // of one copy, a multiple of 16
  std::vector<int> sms;      // numbers of SMs to try
  int warmup = 2;
  int iterations = 20;
};

/// Lets every one of these GPUs reach the others' memory. Throws Error{unsupported} naming two that cannot.
void allow_peer_access(const std::vector<int>& devices);

/// push, pull (bulk and vector copies on SMs) and copy_engine between GPUs, if there are two; local_copy in any case.
/// Throws as allow_peer_access does.
[[nodiscard]] std::vector<LinkFigure> measure_links(const LinkPlan& plan);

/// Every ordered pair of at least two GPUs: all write at once, by bulk copies on the first of plan.sms, each to the one
/// so far after it, for every distance in turn. Throws as allow_peer_access does, and if what arrived is wrong.
[[nodiscard]] std::vector<PairRate> measure_pairs(const LinkPlan& plan);

/// The best of each operation, those on SMs with at most `most_sms` of them.
[[nodiscard]] std::vector<MeasuredRate> best_rates(const std::vector<LinkFigure>& figures, int most_sms);

/// One way between the first two GPUs, or between two blocks where there is one.
[[nodiscard]] FlagLatency measure_cuda_flag(const std::vector<int>& devices, int samples);

}  // namespace railyard::cli::bench
