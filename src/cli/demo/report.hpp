// SPDX-License-Identifier: Apache-2.0
// What the demo tells: where tokens went, what crossed links, how long each stage took, whether all was right.
#pragma once

#include "cli/demo/verify.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace railyard::cli::demo {

/// Seconds of the slowest rank, summed over the steps.
struct StageSeconds {
  double gate = 0.0;
  double dispatch = 0.0;
  double experts = 0.0;
  double combine = 0.0;
};

/// Sums over all steps.
struct Totals {
  std::size_t steps = 0;
  std::vector<std::int64_t> tokens;                       // [ranks] as sources
  std::vector<std::vector<std::int64_t>> rows;            // [destination][source]
  std::vector<std::vector<std::int64_t>> expert_entries;  // [rank][local experts]
  std::int64_t dispatch_bytes = 0;                        // payload and scales that crossed links
  std::int64_t combine_bytes = 0;
  std::int64_t undeduplicated_bytes = 0;  // what dispatch would send with one copy per (token, expert on another rank)
  StageSeconds seconds;
  Verification verification;
  std::vector<std::string> corrupted;

  /// Adds the routes of a finished step: tokens, rows, entries and undeduplicated_bytes.
  void add_routes(const Options& options, const Exchange& exchange);
};

void print_report(std::FILE* stream, const Options& options, std::size_t text_bytes, const Totals& totals);
/// The last line: "verified: yes, ..." or "verified: no, ...".
[[nodiscard]] std::string verdict(const Options& options, const Totals& totals);
[[nodiscard]] nlohmann::ordered_json to_json(const Options& options, std::size_t text_bytes, const Totals& totals);

}  // namespace railyard::cli::demo
