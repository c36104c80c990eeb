// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor/link_pairs.hpp"

#include "cli/bench/timing.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <cstddef>

namespace railyard::cli::doctor {
namespace {

using bench::PairRate;
using diagnostics::format;

constexpr double kClearlySlower = 0.8;  // of the median

double median_of(const std::vector<PairRate>& pairs) {
  std::vector<double> rates(pairs.size());
  std::ranges::transform(pairs, rates.begin(), &PairRate::gbps);
  return bench::Series(std::move(rates)).median();
}

}  // namespace

void describe_pairs(const std::vector<PairRate>& pairs, Finding& finding) {
  const auto [slowest, fastest] = std::ranges::minmax_element(pairs, {}, &PairRate::gbps);
  const double median = median_of(pairs);
  const auto is_slow = [&](const PairRate& pair) { return pair.gbps <= kClearlySlower * median; };
  finding.found +=
      format("; {} pairs {:.1f} to {:.1f} GB/s, median {:.1f}", pairs.size(), slowest->gbps, fastest->gbps, median);
  finding.numbers.insert(finding.numbers.end(),
                         {{"pairs", static_cast<double>(pairs.size())},
                          {"slowest_pair_gbps", slowest->gbps},
                          {"median_pair_gbps", median},
                          {"slow_pairs", static_cast<double>(std::ranges::count_if(pairs, is_slow))}});
  for (const PairRate& pair : pairs) {
    finding.numbers.emplace_back(format("pair_{}_{}_gbps", pair.from, pair.to), pair.gbps);
  }
  if (!is_slow(*slowest)) return;
  finding.state = State::note;
  finding.found += format("; cuda:{} to cuda:{} is {:.0f} % slower than the median", slowest->from, slowest->to,
                          100.0 * (1.0 - slowest->gbps / median));
  finding.remedy =
      "nvidia-smi topo -m says whether fewer links join these two; if not, nvidia-smi nvlink --status "
      "and --errorcounters";
}

}  // namespace railyard::cli::doctor
