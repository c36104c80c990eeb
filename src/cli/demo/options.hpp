// SPDX-License-Identifier: Apache-2.0
// The options of `railyard demo`.
#pragma once

#include <railyard/types.hpp>

#include <cstdint>
#include <functional>
#include <string>

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace railyard::cli::demo {

struct Options {
  int ranks = 8;
  std::string text;  // path; empty: the text built in
  int tokens = 256;  // per rank and step
  int steps = 0;     // 0: the whole text
  int hidden = 256;
  int intermediate = 128;
  int experts = 64;
  int top_k = 8;
  int groups = 8;
  int kept_groups = 4;
  Layout layout = Layout::rank_major;
  Codec codec = Codec::bf16;
  Mode mode = Mode::throughput;
  ReductionLevels levels = ReductionLevels::rank;
  std::uint64_t seed = 1;
  bool corrupt = false;
  std::string json;  // path or "-"; empty: none
};

/// Adds the subcommand; the returned function gives its options after parsing. It throws UsageError.
[[nodiscard]] std::function<Options()> add_options(CLI::App& command);

}  // namespace railyard::cli::demo
