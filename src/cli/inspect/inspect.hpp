// SPDX-License-Identifier: Apache-2.0
// `railyard inspect`: what a routing does to ranks, experts and links, without sending anything.
#pragma once

#include "cli/exit_status.hpp"
#include "cli/routing.hpp"

#include <railyard/types.hpp>

#include <functional>
#include <string>

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace railyard::cli::inspect {

struct Options : SyntheticRouting {  // with `ids`, only its experts count
  std::string ids;                   // path; empty: a generated routing
  int tokens = 1024;                 // per rank, generated
  int ranks = 8;
  int domain_size = 0;  // ranks of a scale-up domain; 0 becomes all
  int hidden = 7168;
  Codec codec = Codec::bf16;
  int alignment = 1;
  std::string json;  // path or "-"; empty: none
  std::string svg;   // path; empty: none
};

/// Adds the subcommand; the returned function gives its options after parsing. It throws UsageError.
[[nodiscard]] std::function<Options()> add_options(CLI::App& command);

/// Counts, prints and writes. Throws Error for what is wrong in the file of ids or cannot be written.
[[nodiscard]] ExitStatus run(const Options& options);

}  // namespace railyard::cli::inspect
