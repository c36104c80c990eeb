// SPDX-License-Identifier: Apache-2.0
// `railyard rendezvous`: where the processes of a world meet, in a process that is none of them.
#pragma once

#include "cli/exit_status.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace railyard::cli::rendezvous {

struct Options {
  int ranks = 0;
  std::string address;
  std::uint16_t port = 0;  // 0: one that is free
  bool once = false;
};

/// Adds the options; the returned function gives them after parsing. It throws UsageError.
[[nodiscard]] std::function<Options()> add_options(CLI::App& command);

/// Serves one world after another, or one. Throws if it cannot listen.
[[nodiscard]] ExitStatus run(const Options& options);

}  // namespace railyard::cli::rendezvous
