// SPDX-License-Identifier: Apache-2.0
// `railyard bench --device cuda`.
#pragma once

#include "cli/bench/cuda_resources.hpp"
#include "cli/bench/result.hpp"

#include <railyard/world.hpp>

#include <vector>

namespace railyard::cli::bench {

/// The devices of the ranks of a run, and what was found out about them.
struct CudaRun {
  World& world;
  const RankStreams& streams;
  std::vector<int> devices;  // each once
  std::size_t cache_bytes;   // L2
  Run& run;

  /// The device of each rank.
  [[nodiscard]] std::vector<int> of_ranks() const {
    std::vector<int> result;
    for (int rank = 0; rank < streams.size(); ++rank) {
      result.push_back(streams.device(rank));
    }
    return result;
  }
};

/// Throws Error{unsupported} for what the library does not do on GPUs.
void measure_cuda(Run& run);

/// Adds the results of `link`; all of them, or only what `throughput` stands beside: the best rates.
void measure_cuda_link(const CudaRun& cuda);
void measure_cuda_limits(const CudaRun& cuda);

/// Runs what is to be measured with one token, so that what cannot be is found before anything is measured.
void require_supported(const CudaRun& cuda);

/// Adds dispatch and combine for one count of tokens.
void measure_cuda_exchange(const CudaRun& cuda, int tokens);

}  // namespace railyard::cli::bench
