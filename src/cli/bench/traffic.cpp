// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/traffic.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace railyard::cli::bench {

Traffic::Traffic(std::vector<std::vector<double>> rows, std::vector<int> devices)
    : rows_(std::move(rows)), devices_(std::move(devices)) {}

Traffic::Busiest Traffic::busiest(const std::vector<int>& place_of_rank) const {
  const auto places = static_cast<std::size_t>(*std::max_element(place_of_rank.begin(), place_of_rank.end())) + 1;
  std::vector<double> out(places);
  std::vector<double> in(places);
  std::vector<double> within(places);
  for (std::size_t source = 0; source < rows_.size(); ++source) {
    for (std::size_t destination = 0; destination < rows_.size(); ++destination) {
      const auto from = static_cast<std::size_t>(place_of_rank[source]);
      const auto to = static_cast<std::size_t>(place_of_rank[destination]);
      if (from == to) {
        within[from] += rows_[source][destination];
      } else {
        out[from] += rows_[source][destination];
        in[to] += rows_[source][destination];
      }
    }
  }
  const auto most = [](const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); };
  return {std::max(most(out), most(in)), most(within)};
}

std::int64_t Traffic::wire_bytes(std::int64_t row_bytes) const {
  std::vector<int> ranks(rows_.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return static_cast<std::int64_t>(std::llround(busiest(ranks).across * static_cast<double>(row_bytes)));
}

double Traffic::limit_us(std::int64_t row_bytes, const Limits& limits, std::string_view link) const {
  const Busiest most = busiest(devices_);
  double longest = 0.0;
  for (const MeasuredRate& rate : limits.links) {
    const double rows = rate.operation == link ? most.across : rate.operation == "local_copy" ? most.within : 0.0;
    longest = std::max(longest, rows * static_cast<double>(row_bytes) / rate.gbps * 1e-3);
  }
  return longest;
}

}  // namespace railyard::cli::bench
