// SPDX-License-Identifier: Apache-2.0
// Rows, counts and offsets of the small case in every layout, and of masks and bad ids.
#include "small_case.hpp"

namespace railyard::reference {
namespace {

using Ints = std::vector<std::int32_t>;
using Rows = std::vector<std::int64_t>;

TEST(Placement, RankMajorHasARowPerTokenAndRank) {
  const Result out = dispatch(small_config(Layout::rank_major, {3, 2}), small_sources());
  EXPECT_TRUE(out.status.ok());
  EXPECT_EQ(out.sources[0].destination, (std::vector<int>{0, 1, 0, 1, 1, -1}));
  EXPECT_EQ(out.sources[0].local_expert, (std::vector<int>{1, 0, 0, 0, 0, -1}));
  EXPECT_EQ(out.sources[0].row, (Rows{0, 0, 0, 1, 1, kNoRow}));
  EXPECT_EQ(out.sources[0].counts, (Ints{1, 2}));
  EXPECT_EQ(out.sources[1].row, (Rows{1, 1, 1}));
  EXPECT_EQ(out.sources[1].counts, (Ints{1, 0}));

  const Delivered& first = out.received[0];
  EXPECT_EQ(first.num_rows, 2);
  EXPECT_EQ(first.receive_counts, (Ints{1, 1}));
  EXPECT_EQ(first.expert_counts, (Ints{2, 3}));
  EXPECT_EQ(first.expert_offsets, (Ints{0, 0, 0}));
  EXPECT_EQ(first.expert_ids, (Ints{1, -1, 0, 0, 1, 1, -1, -1, -1}));
  EXPECT_EQ(first.weights, (std::vector<float>{0.5F, 0, 0.125F, 8, 16, 32, 0, 0, 0}));
  EXPECT_EQ(first.origins, (std::vector<Origin>{{0, 0, 0}, {0, 1, 0}, {}}));

  const Delivered& second = out.received[1];
  EXPECT_EQ(second.num_rows, 2);
  EXPECT_EQ(second.receive_counts, (Ints{2, 0}));
  EXPECT_EQ(second.expert_counts, (Ints{3}));
  EXPECT_EQ(second.expert_ids, (Ints{-1, 0, -1, 0, 0, -1}));
  EXPECT_EQ(second.weights, (std::vector<float>{0, 0.25F, 0, 1, 2, 0}));
  EXPECT_EQ(second.origins, (std::vector<Origin>{{0, 0, 1}, {1, 0, 0}}));
}

TEST(Placement, ExpertMajorHasARowPerEntryInAlignedGroups) {
  Config config = small_config(Layout::expert_major, {10, 4});
  config.alignment = 4;
  const Result out = dispatch(config, small_sources());
  EXPECT_TRUE(out.status.ok());
  EXPECT_EQ(out.sources[0].row, (Rows{4, 0, 0, 1, 2, kNoRow}));
  EXPECT_EQ(out.sources[0].counts, (Ints{2, 3}));
  EXPECT_EQ(out.sources[1].row, (Rows{1, 5, 6}));
  EXPECT_EQ(out.sources[1].counts, (Ints{3, 0}));

  const Delivered& first = out.received[0];
  EXPECT_EQ(first.num_rows, 5);
  EXPECT_EQ(first.receive_counts, (Ints{2, 3}));
  EXPECT_EQ(first.expert_counts, (Ints{2, 3}));
  EXPECT_EQ(first.expert_offsets, (Ints{0, 4, 8}));
  EXPECT_EQ(first.expert_ids, (Ints{0, 0, -1, -1, 1, 1, 1, -1, -1, -1}));
  EXPECT_EQ(first.weights, (std::vector<float>{0.125F, 8, 0, 0, 0.5F, 16, 32, 0, 0, 0}));
  EXPECT_EQ(first.origins,
            (std::vector<Origin>{{0, 0, 2}, {0, 1, 0}, {}, {}, {0, 0, 0}, {0, 1, 1}, {0, 1, 2}, {}, {}, {}}));

  const Delivered& second = out.received[1];
  EXPECT_EQ(second.expert_counts, (Ints{3}));
  EXPECT_EQ(second.expert_offsets, (Ints{0, 4}));
  EXPECT_EQ(second.origins, (std::vector<Origin>{{0, 0, 1}, {1, 0, 0}, {1, 0, 1}, {}}));
}

TEST(Placement, ExpertSlotsHasARowPerEntryFromEachExpertsFirstSlot) {
  const Result out = dispatch(small_config(Layout::expert_slots, {4, 3}), small_sources());
  EXPECT_TRUE(out.status.ok());
  EXPECT_EQ(out.sources[0].row, (Rows{4, 0, 0, 1, 2, kNoRow}));
  EXPECT_EQ(out.sources[1].row, (Rows{1, 5, 6}));
  const Delivered& first = out.received[0];
  EXPECT_EQ(first.num_rows, 5);
  EXPECT_EQ(first.expert_counts, (Ints{2, 3}));
  EXPECT_EQ(first.expert_offsets, (Ints{0, 4, 8}));
  EXPECT_EQ(first.expert_ids, (Ints{0, 0, -1, -1, 1, 1, 1, -1}));
  EXPECT_EQ(first.weights, (std::vector<float>{0.125F, 8, 0, 0, 0.5F, 16, 32, 0}));
  EXPECT_EQ(out.received[1].expert_offsets, (Ints{0, 3}));
}

TEST(Placement, AMaskSendsWithoutExperts) {
  Config config = small_config(Layout::rank_major, {2, 2});
  config.from_mask = true;
  config.has_weights = false;
  config.top_k = 0;
  std::vector<Source> sources(2);
  sources[0].tokens = 2;
  sources[0].mask = {0, 1, 1, 255};
  sources[0].x = counting_rows(2, 10);
  sources[1].tokens = 1;
  sources[1].mask = {0, 1};
  sources[1].x = counting_rows(1, 20);
  config.capacity = {2, 3};
  const Result out = dispatch(config, sources);
  EXPECT_EQ(out.sources[0].row, (Rows{kNoRow, 0, 0, 1}));
  EXPECT_EQ(out.sources[1].row, (Rows{kNoRow, 2}));
  EXPECT_EQ(out.sources[0].counts, (Ints{1, 2}));
  EXPECT_EQ(out.received[0].origins, (std::vector<Origin>{{1, 0, 0}, {}}));
  EXPECT_EQ(out.received[1].origins, (std::vector<Origin>{{0, 0, 1}, {1, 0, 1}, {0, 1, 1}}));
  EXPECT_EQ(first_elements(out.received[1].rows), (std::vector<float>{10, 11, 20}));
  EXPECT_TRUE(out.received[1].expert_ids.empty());
  EXPECT_TRUE(out.received[1].weights.empty());
  EXPECT_EQ(out.received[0].expert_counts, (Ints{0, 0}));
}

TEST(Placement, IdsOutsideTheExpertsCountAsNoneAndAreReported) {
  std::vector<Source> sources = small_sources();
  sources[0].ids[5] = 3;  // three experts: the first id too many
  sources[1].ids[0] = -2;
  sources[1].ids[2] = std::int64_t{1} << 40U;
  const Result out = dispatch(small_config(Layout::expert_slots, {4, 4}), sources);
  EXPECT_EQ(out.status, (Status{ErrorCode::invalid_id, 0, -1, 3, 3, 3}));
  EXPECT_EQ(out.sources[0].row[5], kNoRow);
  EXPECT_EQ(out.sources[1].row, (Rows{kNoRow, 5, kNoRow}));
  EXPECT_EQ(out.received[0].expert_counts, (Ints{1, 2}));
  sources[0].ids[5] = -1;
  EXPECT_EQ(dispatch(small_config(Layout::expert_slots, {4, 4}), sources).status,
            (Status{ErrorCode::invalid_id, 1, -1, -2, 3, 2}));
}

TEST(Placement, RanksWithoutTokensOrExpertsAreLegal) {
  Config config = small_config(Layout::expert_major, {0, 5, 0});
  config.experts_per_rank = {0, 3, 0};
  std::vector<Source> sources = small_sources();
  sources.insert(sources.begin(), Source{});
  sources[2].ids = {-1, -1, -1};
  const Result out = dispatch(config, sources);
  EXPECT_TRUE(out.status.ok());
  EXPECT_EQ(out.sources[0].counts, (Ints{0, 0, 0}));
  EXPECT_EQ(out.received[0].expert_offsets, Ints{0});
  EXPECT_EQ(out.received[1].receive_counts, (Ints{0, 5, 0}));
  EXPECT_EQ(out.received[1].expert_offsets, (Ints{0, 1, 2, 5}));
  EXPECT_EQ(out.received[2].num_rows, 0);
}

TEST(Placement, DefaultCapacitiesHoldAnyRouting) {
  EXPECT_EQ(default_capacity(Layout::rank_major, 4, 100, 8, 16, 128), 400);
  EXPECT_EQ(default_capacity(Layout::expert_slots, 4, 100, 8, 16, 128), 400);
  EXPECT_EQ(default_capacity(Layout::expert_major, 4, 100, 8, 16, 1), 3200);
  EXPECT_EQ(default_capacity(Layout::expert_major, 4, 100, 8, 2, 128), 1152);  // 800 + 254 = 1054, up to 9 * 128
  EXPECT_EQ(default_capacity(Layout::expert_major, 4, 100, 8, 0, 128), 0);
}

TEST(Placement, RejectsSizesThatDoNotFit) {
  std::vector<Source> sources = small_sources();
  sources[0].ids.pop_back();
  EXPECT_THROW(static_cast<void>(dispatch(small_config(Layout::rank_major, {3, 2}), sources)), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(dispatch(small_config(Layout::rank_major, {3}), small_sources())),
               std::invalid_argument);
  sources = small_sources();
  sources[1].x.pop_back();
  EXPECT_THROW(static_cast<void>(dispatch(small_config(Layout::rank_major, {3, 2}), sources)), std::invalid_argument);
}

}  // namespace
}  // namespace railyard::reference
