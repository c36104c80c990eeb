// SPDX-License-Identifier: Apache-2.0
// The row of every entry, from all ranks' ids.
#pragma once

#include "reference/reference.hpp"

#include <cstdint>
#include <vector>

namespace railyard::reference {

/// One row that a destination would receive: an entry, or in rank_major all of a token's entries on that rank.
struct Row {
  int source = 0;
  std::int64_t token = 0;
  int k = 0;             // the entry's, or in rank_major the lowest one
  int local_expert = 0;  // 0 in rank_major
  std::int64_t flat = kLostRow;
};

/// One rank as a destination. A group is a local expert; in rank_major the rank has one group, 0.
struct DestinationPlan {
  std::vector<std::vector<Row>> groups;   // [groups], rows in order, those beyond the capacity too
  std::vector<std::int64_t> group_start;  // [groups + 1] flat rows, not clipped
  std::int64_t capacity = 0;              // 0 at an exhausted rank
  std::int64_t flat_rows = 0;             // of the delivered tensors
  std::int64_t lost = 0;                  // rows
  bool exhausted = false;
};

struct RejectedIds {
  std::int64_t count = 0;
  int first_source = -1;
  std::int64_t first_id = 0;
};

struct Placed {
  std::vector<SourceRoute> sources;           // [ranks]
  std::vector<DestinationPlan> destinations;  // [ranks]
  RejectedIds rejected;
};

/// Throws std::invalid_argument if sizes in `config` and `sources` do not fit each other.
[[nodiscard]] Placed place(const Config& config, const std::vector<Source>& sources);

/// What Result::status says.
[[nodiscard]] Status verdict(const Config& config, const Placed& placed);

/// Elements of a [tokens, columns] array of `source`.
[[nodiscard]] std::size_t at(const Config& config, std::int64_t token, int column);

}  // namespace railyard::reference
