// SPDX-License-Identifier: Apache-2.0
// `railyard doctor`: what is wrong with a machine, before a job finds out (docs/doctor.md).
#pragma once

#include "cli/exit_status.hpp"
#include "diagnostics/endpoint.hpp"

#include <functional>
#include <optional>
#include <string>

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace railyard::cli::doctor {

struct Options {
  std::string json;                                 // path or "-"; empty: none
  std::optional<diagnostics::Endpoint> rendezvous;  // to try; none: on the loopback interface
  bool quick = false;                               // nothing is measured
};

/// Adds the options; the returned function gives them after parsing. It throws UsageError.
[[nodiscard]] std::function<Options()> add_options(CLI::App& command);

/// Runs every check, prints the findings, writes the JSON (docs/doctor.schema.json). `failed` if one is a problem.
/// A check that throws, or does not end in time, is a problem; throws only for a file that cannot be written.
[[nodiscard]] ExitStatus run(const Options& options);

}  // namespace railyard::cli::doctor
