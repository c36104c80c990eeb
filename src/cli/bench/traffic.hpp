// SPDX-License-Identifier: Apache-2.0
// Who sends how many rows to whom, and how long links and memory need for them at best.
#pragma once

#include "cli/bench/result.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace railyard::cli::bench {

class Traffic {
 public:
  /// `rows[source][destination]`; ranks with equal `devices` share one.
  Traffic(std::vector<std::vector<double>> rows, std::vector<int> devices);

  /// Of the busiest rank in its busier direction, other ranks' rows only.
  [[nodiscard]] std::int64_t wire_bytes(std::int64_t row_bytes) const;
  /// Microseconds that the busiest GPU needs: its busier direction at the rate of `link`, or all rows between its own
  /// ranks at that of local_copy, whichever takes longer. 0 if neither was measured.
  [[nodiscard]] double limit_us(std::int64_t row_bytes, const Limits& limits, std::string_view link) const;

 private:
  /// The most rows that leave or enter one of the places; `within` counts those that stay.
  struct Busiest {
    double across = 0.0;
    double within = 0.0;
  };
  [[nodiscard]] Busiest busiest(const std::vector<int>& place_of_rank) const;

  std::vector<std::vector<double>> rows_;
  std::vector<int> devices_;
};

}  // namespace railyard::cli::bench
