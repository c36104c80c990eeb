// SPDX-License-Identifier: Apache-2.0
// What `railyard inspect` has to say, as text and as JSON (docs/inspect.schema.json).
#pragma once

#include "cli/inspect/inspect.hpp"
#include "cli/inspect/tally.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

namespace railyard::cli::inspect {

struct Report {
  Options options;
  int top_k = 0;               // of the file or of the options
  std::int64_t row_bytes = 0;  // payload and scales
  Findings findings;

  /// Where the ids come from, in a line.
  [[nodiscard]] std::string subject() const;
};

void print_report(std::FILE* stream, const Report& report);
[[nodiscard]] nlohmann::ordered_json to_json(const Report& report, const Tally& tally);

}  // namespace railyard::cli::inspect
