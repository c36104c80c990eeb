// SPDX-License-Identifier: Apache-2.0
// Backend = reference, bit for bit, over random cases.
//   RAILYARD_TEST_SEED   the first case's seed; without it, a random one, printed
//   RAILYARD_TEST_CASES  how many cases, over all shards
#include "multi_rank/rank_run.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <random>
#include <string>

namespace railyard::multi_rank {
namespace {

constexpr std::uint64_t kShards = 8;
#if defined(RAILYARD_SANITIZED)
constexpr std::uint64_t kCases = 160;
#else
constexpr std::uint64_t kCases = 1600;
#endif

class Property : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Property, BackendEqualsReference) {
  const std::uint64_t first = from_environment("RAILYARD_TEST_SEED", std::random_device{}());
  const std::uint64_t cases = from_environment("RAILYARD_TEST_CASES", kCases);
  std::printf("%s, seeds %llu + shard %llu of %llu, %llu cases in all\n", std::string(backend().name()).c_str(),
              static_cast<unsigned long long>(first), static_cast<unsigned long long>(GetParam()),
              static_cast<unsigned long long>(kShards), static_cast<unsigned long long>(cases));
  std::int64_t untouched_rows = 0;
  for (std::uint64_t i = GetParam(); i < cases; i += kShards) {
    const std::string difference = run_scenario(make_scenario(first + i), &untouched_rows);
    ASSERT_EQ(difference, "");
  }
  // Whether untouched tails were really looked at: the poison must have been where the tensors were.
  if (cases >= 20 * kShards) {
    EXPECT_GT(untouched_rows, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Shard, Property, ::testing::Range(std::uint64_t{0}, kShards));

}  // namespace
}  // namespace railyard::multi_rank
