// SPDX-License-Identifier: Apache-2.0
#include <railyard/error.hpp>
#include <railyard/placement.hpp>

#include <gtest/gtest.h>

#include <string>

namespace railyard {
namespace {

TEST(Placement, EvenBlocksGiveTheFirstRanksOneMore) {
  const Placement placement = Placement::contiguous(10, 4);
  EXPECT_EQ(placement.num_ranks(), 4);
  EXPECT_EQ(placement.num_experts(), 10);
  const int sizes[] = {3, 3, 2, 2};
  int first = 0;
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(placement.first_expert(rank), first);
    EXPECT_EQ(placement.local_experts(rank), sizes[rank]);
    for (int local = 0; local < sizes[rank]; ++local) EXPECT_EQ(placement.rank_of(first + local), rank);
    first += sizes[rank];
  }
  EXPECT_EQ(placement.max_local_experts(), 3);
}

TEST(Placement, RanksMayHoldNoExpert) {
  const Placement placement = Placement::blocks({0, 5, 0, 1});
  EXPECT_EQ(placement.local_experts(0), 0);
  EXPECT_EQ(placement.rank_of(0), 1);
  EXPECT_EQ(placement.rank_of(5), 3);
  EXPECT_EQ(placement, Placement::blocks({0, 5, 0, 1}));
  EXPECT_NE(placement, Placement::blocks({0, 5, 1, 0}));
  EXPECT_TRUE(Placement().empty());
}

std::string refusal_of(const std::vector<int>& sizes) {
  try {
    static_cast<void>(Placement::blocks(sizes));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Placement, RefusesWhatIsNone) {
  EXPECT_NE(refusal_of({2, -1}).find("-1 experts on rank 1; at least 0"), std::string::npos);
  EXPECT_NE(refusal_of({0, 0}).find("without experts on 2 ranks"), std::string::npos);
  EXPECT_THROW(static_cast<void>(Placement::contiguous(0, 1)), Error);
  EXPECT_THROW(static_cast<void>(Placement::contiguous(1, 0)), Error);
  EXPECT_NE(refusal_of({1 << 20, 1}).find("1048577 experts up to rank 1; at most 1048576"), std::string::npos);
  EXPECT_THROW(static_cast<void>(Placement::contiguous(1, 4097)), Error);
  EXPECT_EQ(Placement::contiguous(1 << 20, 4096).local_experts(4095), 256);
}

}  // namespace
}  // namespace railyard
