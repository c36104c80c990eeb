// SPDX-License-Identifier: Apache-2.0
// What is lost, and what the status says about it.
#include "small_case.hpp"

namespace railyard::reference {
namespace {

using Ints = std::vector<std::int32_t>;
using Rows = std::vector<std::int64_t>;

TEST(Capacity, RankMajorLosesTheLastRows) {
  Config config = small_config(Layout::rank_major, {2, 1});
  Result out = dispatch(config, small_sources());
  EXPECT_EQ(out.status, (Status{ErrorCode::capacity, 1, -1, 2, 1, 1}));
  EXPECT_EQ(out.num_dropped, 0);
  EXPECT_EQ(out.sources[0].row, (Rows{0, 0, 0, kLostRow, kLostRow, kNoRow}));
  EXPECT_EQ(out.sources[0].counts, (Ints{1, 1}));
  EXPECT_EQ(out.received[1].num_rows, 1);
  EXPECT_EQ(out.received[1].receive_counts, (Ints{1, 0}));
  EXPECT_EQ(out.received[1].expert_counts, (Ints{1}));
  config.overflow = OverflowPolicy::drop;
  out = dispatch(config, small_sources());
  EXPECT_TRUE(out.status.ok());
  EXPECT_EQ(out.num_dropped, 1);
}

TEST(Capacity, ExpertMajorClipsOffsetsComputedFromAllRows) {
  Config config = small_config(Layout::expert_major, {6, 4});
  config.alignment = 4;
  const Result out = dispatch(config, small_sources());
  EXPECT_EQ(out.status, (Status{ErrorCode::capacity, 0, -1, 8, 6, 1}));
  EXPECT_EQ(out.sources[1].row, (Rows{1, 5, kLostRow}));
  EXPECT_EQ(out.sources[1].counts, (Ints{2, 0}));
  EXPECT_EQ(out.received[0].num_rows, 4);
  EXPECT_EQ(out.received[0].expert_counts, (Ints{2, 2}));
  EXPECT_EQ(out.received[0].expert_offsets, (Ints{0, 4, 6}));

  config.capacity = {3, 4};  // the second group starts beyond it
  const Result less = dispatch(config, small_sources());
  EXPECT_EQ(less.status, (Status{ErrorCode::capacity, 0, -1, 8, 3, 3}));
  EXPECT_EQ(less.received[0].expert_counts, (Ints{2, 0}));
  EXPECT_EQ(less.received[0].expert_offsets, (Ints{0, 3, 3}));
  EXPECT_EQ(less.received[0].origins, (std::vector<Origin>{{0, 0, 2}, {0, 1, 0}, {}}));
}

TEST(Capacity, ExpertMajorOverflowsOnPaddingAlone) {
  Config config = small_config(Layout::expert_major, {7, 4});
  config.alignment = 4;
  const Result out = dispatch(config, small_sources());
  EXPECT_EQ(out.status, (Status{ErrorCode::capacity, 0, -1, 8, 7, 0}));
  EXPECT_EQ(out.received[0].num_rows, 5);
  EXPECT_EQ(out.received[0].expert_offsets, (Ints{0, 4, 7}));
}

TEST(Capacity, ExpertSlotsLosePerExpert) {
  Config config = small_config(Layout::expert_slots, {2, 2});
  Result out = dispatch(config, small_sources());
  EXPECT_EQ(out.status, (Status{ErrorCode::capacity, 0, 1, 3, 2, 2}));
  EXPECT_EQ(out.sources[0].row, (Rows{2, 0, 0, 1, kLostRow, kNoRow}));
  EXPECT_EQ(out.sources[1].row, (Rows{1, 3, kLostRow}));
  EXPECT_EQ(out.received[0].expert_counts, (Ints{2, 2}));
  EXPECT_EQ(out.received[0].expert_offsets, (Ints{0, 2, 4}));
  config.overflow = OverflowPolicy::drop;
  out = dispatch(config, small_sources());
  EXPECT_TRUE(out.status.ok());
  EXPECT_EQ(out.num_dropped, 2);
}

TEST(Capacity, AnExhaustedRankReceivesNothingWhateverThePolicy) {
  for (const OverflowPolicy policy : {OverflowPolicy::error, OverflowPolicy::drop}) {
    Config config = small_config(Layout::rank_major, {1, 4});  // rank 0 overflows by one row as well
    config.heap_exhausted = {false, true};
    config.overflow = policy;
    const Result out = dispatch(config, small_sources());
    EXPECT_EQ(out.status, (Status{ErrorCode::heap_exhausted, 1, -1, 0, 0, 2}));
    EXPECT_EQ(out.num_dropped, policy == OverflowPolicy::drop ? 1 : 0);
    EXPECT_EQ(out.sources[0].row, (Rows{0, kLostRow, 0, kLostRow, kLostRow, kNoRow}));
    EXPECT_EQ(out.sources[0].counts, (Ints{1, 0}));
    EXPECT_EQ(out.received[1].num_rows, 0);
    EXPECT_TRUE(out.received[1].rows.empty());
    EXPECT_EQ(out.received[1].expert_offsets, (Ints{0, 0}));
  }
}

TEST(Capacity, TheMostSevereStatusIsNamed) {
  std::vector<Source> sources = small_sources();
  sources[0].ids[5] = 99;
  Config config = small_config(Layout::rank_major, {1, 1});
  EXPECT_EQ(dispatch(config, sources).status, (Status{ErrorCode::capacity, 0, -1, 2, 1, 2}));
  config.overflow = OverflowPolicy::drop;
  EXPECT_EQ(dispatch(config, sources).status, (Status{ErrorCode::invalid_id, 0, -1, 99, 3, 1}));
  config.heap_exhausted = {true, true};
  EXPECT_EQ(dispatch(config, sources).status, (Status{ErrorCode::heap_exhausted, 0, -1, 0, 0, 4}));
  EXPECT_EQ(dispatch(config, sources).num_dropped, 0);
}

TEST(Capacity, AnExhaustedRankIsNamedEvenIfNobodySendsToIt) {
  std::vector<Source> sources = small_sources();
  for (Source& source : sources) {
    source.ids.assign(source.ids.size(), -1);
  }
  Config config = small_config(Layout::expert_slots, {2, 2});
  config.heap_exhausted = {false, true};
  EXPECT_EQ(dispatch(config, sources).status, (Status{ErrorCode::heap_exhausted, 1, -1, 0, 0, 0}));
}

}  // namespace
}  // namespace railyard::reference
