// SPDX-License-Identifier: Apache-2.0
#include "routing/entries.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace railyard::routing {
namespace {

using Values = std::vector<std::int32_t>;

TEST(Entries, CountsEntriesPerExpertAndRowsPerRank) {
  // Ranks hold experts {0, 1, 2} and {3, 4}.
  const Placement placement = Placement::blocks({3, 2});
  const Values ids{0,  3,  0,   // rank 0 once, though two entries; rank 1 once
                   4,  3,  -1,  // rank 1 once
                   -1, -1, -1};
  Entries entries;
  scan_ids({ids.data(), DType::int32, {3, 3}}, 3, placement, entries);
  EXPECT_EQ(entries.counts, (Values{2, 0, 0, 2, 1, /*rows*/ 1, 2}));
  EXPECT_EQ(entries.target, ids);
  EXPECT_EQ(entries.invalid_ids, 0);
  Values local(3);
  entries.local_ids(0, placement, 0, local.data());
  EXPECT_EQ(local, (Values{0, -1, 0}));
  entries.local_ids(1, placement, 1, local.data());
  EXPECT_EQ(local, (Values{1, 0, -1}));
}

TEST(Entries, IdsOutsideAreNoneAndReported) {
  const Placement placement = Placement::contiguous(4, 2);
  const std::vector<std::int64_t> ids{1,
                                      4,
                                      -2,
                                      std::numeric_limits<std::int64_t>::max(),
                                      std::int64_t{1} << 32U,  // would be expert 0 if cut to 32 bits
                                      3};
  Entries entries;
  scan_ids({ids.data(), DType::int64, {3, 2}}, 3, placement, entries);
  EXPECT_EQ(entries.target, (Values{1, -1, -1, -1, -1, 3}));
  EXPECT_EQ(entries.invalid_ids, 4);
  EXPECT_EQ(entries.first_invalid_id, 4);
}

TEST(Entries, OnlyTheTokensThatCount) {
  const Placement placement = Placement::contiguous(2, 2);
  const Values ids{0, 1, 1};
  Entries entries;
  scan_ids({ids.data(), DType::int32, {3, 1}}, 2, placement, entries);
  EXPECT_EQ(entries.num_tokens, 2);
  EXPECT_EQ(entries.counts, (Values{1, 1, 1, 1}));
  scan_ids({nullptr, DType::int32, {0, 1}}, 0, placement, entries);
  EXPECT_EQ(entries.counts, (Values{0, 0, 0, 0}));
  EXPECT_TRUE(entries.target.empty());
}

TEST(Entries, MasksTargetRanks) {
  const Placement placement = Placement::contiguous(4, 3);
  const std::vector<std::uint8_t> mask{0, 1, 255, 1, 0, 0};
  Entries entries;
  scan_mask({mask.data(), DType::uint8, {2, 3}}, 2, placement, entries);
  EXPECT_TRUE(entries.from_mask);
  EXPECT_EQ(entries.target, (Values{-1, 1, 2, 0, -1, -1}));
  EXPECT_EQ(entries.counts, (Values{0, 0, 0, 0, 1, 1, 1}));
  leave_out_ranks({true, false, true}, placement, entries);
  EXPECT_EQ(entries.target, (Values{-1, -1, 2, 0, -1, -1}));
  EXPECT_EQ(entries.counts, (Values{0, 0, 0, 0, 1, 0, 1}));
}

TEST(Entries, RanksThatAreLeftOutHaveNone) {
  const Placement placement = Placement::blocks({2, 1, 2});
  const std::vector<std::int32_t> ids{0, 2, 4, 2, 2, -1, 3, 9, 1};
  Entries entries;
  scan_ids({ids.data(), DType::int32, {3, 3}}, 3, placement, entries);
  leave_out_ranks({true, false, true}, placement, entries);
  EXPECT_EQ(entries.target, (Values{0, -1, 4, -1, -1, -1, 3, -1, 1}));
  EXPECT_EQ(entries.counts, (Values{1, 1, 0, 1, 1, 2, 0, 2}));
  EXPECT_EQ(entries.invalid_ids, 1);
  leave_out_ranks({true, false, false}, placement, entries);
  EXPECT_EQ(entries.target, (Values{0, -1, -1, -1, -1, -1, -1, -1, 1}));
  EXPECT_EQ(entries.counts, (Values{1, 1, 0, 0, 0, 2, 0, 0}));
}

}  // namespace
}  // namespace railyard::routing
