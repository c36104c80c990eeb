// SPDX-License-Identifier: Apache-2.0
// What doctor makes of figures that a machine might have.
#include "cli/doctor/link_pairs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace railyard::cli::doctor {
namespace {

using bench::PairRate;

std::vector<PairRate> all_pairs(int gpus, double gbps) {
  std::vector<PairRate> pairs;
  for (int distance = 1; distance < gpus; ++distance) {
    for (int from = 0; from < gpus; ++from) pairs.push_back({from, (from + distance) % gpus, gbps});
  }
  return pairs;
}

double number(const Finding& finding, const std::string& name) {
  const auto found = std::ranges::find_if(finding.numbers, [&](const auto& entry) { return entry.first == name; });
  EXPECT_NE(found, finding.numbers.end()) << name;
  return found == finding.numbers.end() ? -1 : found->second;
}

TEST(LinkPairs, EvenLinksAreFine) {
  std::vector<PairRate> pairs = all_pairs(8, 340);
  pairs[9].gbps = 290;
  pairs[20].gbps = 345.25;
  Finding finding{.check = "gpu_links", .found = "push 290.0 GB/s"};
  describe_pairs(pairs, finding);
  EXPECT_EQ(finding.state, State::ok);
  EXPECT_EQ(finding.remedy, "");
  EXPECT_EQ(finding.found, "push 290.0 GB/s; 56 pairs 290.0 to 345.2 GB/s, median 340.0");
  EXPECT_EQ(number(finding, "pairs"), 56);
  EXPECT_EQ(number(finding, "slow_pairs"), 0);
  EXPECT_EQ(number(finding, "slowest_pair_gbps"), 290);
  EXPECT_EQ(number(finding, "median_pair_gbps"), 340);
  EXPECT_EQ(number(finding, "pair_1_3_gbps"), 290);
  EXPECT_EQ(number(finding, "pair_7_0_gbps"), 340);
  EXPECT_EQ(finding.numbers.size(), 4U + 56U);
}

TEST(LinkPairs, ASlowOneIsNamedInItsDirection) {
  std::vector<PairRate> pairs = all_pairs(4, 200);
  const auto slow = std::ranges::find_if(pairs, [](const PairRate& pair) { return pair.from == 3 && pair.to == 1; });
  slow->gbps = 50;
  pairs[0].gbps = 160;  // slow too, but not the slowest
  Finding finding{.check = "gpu_links", .found = "push 50.0 GB/s"};
  describe_pairs(pairs, finding);
  EXPECT_EQ(finding.state, State::note);
  EXPECT_NE(finding.found.find("; cuda:3 to cuda:1 is 75 % slower than the median"), std::string::npos)
      << finding.found;
  EXPECT_NE(finding.remedy, "");
  EXPECT_EQ(number(finding, "slow_pairs"), 2);
}

TEST(LinkPairs, TwoGpusAreComparedInBothDirections) {
  Finding even{.check = "gpu_links"};
  describe_pairs({{0, 1, 345}, {1, 0, 330}}, even);
  EXPECT_EQ(even.state, State::ok);
  Finding uneven{.check = "gpu_links"};
  describe_pairs({{0, 1, 300}, {1, 0, 100}}, uneven);
  EXPECT_NE(uneven.found.find("cuda:1 to cuda:0 is 50 % slower"), std::string::npos) << uneven.found;
}

}  // namespace
}  // namespace railyard::cli::doctor
