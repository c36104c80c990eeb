// SPDX-License-Identifier: Apache-2.0
// Small cases worked out by hand; tests/multi_rank compares random ones with the reference.
#include "routing/resolve.hpp"

#include <railyard/route.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace railyard::routing {
namespace {

using Values = std::vector<std::int32_t>;

// Two ranks with two experts each; rank 0's view unless told otherwise.
struct Case {
  Placement placement = Placement::blocks({2, 2});
  std::vector<Values> ids;  // [rank], two per token
  Layout layout = Layout::rank_major;
  int alignment = 1;
  std::int64_t capacity = 100;
  OverflowPolicy overflow = OverflowPolicy::error;
  ReductionLevels levels = ReductionLevels::rank;
  ReductionOrder order = ReductionOrder::rank_ascending;
  bool second_exhausted = false;
  int rank = 0;

  std::vector<Entries> entries{};
  Resolver resolver{};
  std::shared_ptr<RoutePool> pool = std::make_shared<RoutePool>();
  std::vector<Route> kept{};  // what resolve() returned

  RouteState& resolve() {
    entries.resize(ids.size());
    std::vector<SourceCounts> sources;
    for (std::size_t source = 0; source < ids.size(); ++source) {
      const auto tokens = static_cast<std::int64_t>(ids[source].size() / 2);
      scan_ids({ids[source].data(), DType::int32, {tokens, 2}}, tokens, placement, entries[source]);
      const bool exhausted = second_exhausted && source == 1;
      sources.push_back({.counts = entries[source].counts.data(),
                         .capacity = exhausted ? 0 : capacity,
                         .heap_exhausted = exhausted,
                         .wanted_bytes = 77,
                         .free_bytes = 11,
                         .invalid_ids = entries[source].invalid_ids,
                         .first_invalid_id = entries[source].first_invalid_id});
    }
    RouteState& state = *pool->take();
    kept.emplace_back(&state);
    state.layout = layout;
    state.alignment = alignment;
    state.entries = entries[static_cast<std::size_t>(rank)];
    resolver.resolve({&placement, rank, overflow, levels, order}, sources, state);
    return state;
  }
};

std::vector<std::vector<int>> transfers_of(const RouteState& state) {
  std::vector<std::vector<int>> all;  // {token, rank, row, k}
  for (std::int64_t token = 0; token < state.num_tokens(); ++token) {
    for (const Transfer& transfer : state.of_token(token)) {
      all.push_back({static_cast<int>(token), transfer.rank, transfer.row, transfer.k});
    }
  }
  return all;
}

using Transfers = std::vector<std::vector<int>>;

TEST(Resolve, RankMajorRowsFollowSourceAndToken) {
  Case test{.ids = {{0, 2, 1, 1}, {3, 0, 2, -1}}};
  RouteState& first = test.resolve();
  EXPECT_EQ(transfers_of(first), (Transfers{{0, 0, 0, 0}, {0, 1, 0, 1}, {1, 0, 1, 0}}));
  EXPECT_EQ(first.receive_counts, (Values{2, 1}));
  EXPECT_EQ(first.expert_counts, (Values{2, 2}));
  EXPECT_EQ(first.send_counts, (Values{2, 1}));
  test.rank = 1;
  RouteState& second = test.resolve();
  EXPECT_EQ(transfers_of(second), (Transfers{{0, 0, 2, 1}, {0, 1, 1, 0}, {1, 1, 2, 0}}));
  EXPECT_EQ(second.receive_counts, (Values{1, 2}));
}

TEST(Resolve, HighestKOrdersPartialsByTheLastEntry) {
  // Token: experts 2 and 0: rank 1 is listed first, so its partial comes first under highest_k.
  Case test{.ids = {{2, 0}, {}}, .order = ReductionOrder::highest_k};
  EXPECT_EQ(transfers_of(test.resolve()), (Transfers{{0, 1, 0, 0}, {0, 0, 0, 1}}));
}

TEST(Resolve, ExpertMajorAlignsGroups) {
  Case test{.ids = {{0, 1, 0, 3}, {1, 0, 1, 1}}, .layout = Layout::expert_major, .alignment = 4};
  RouteState& state = test.resolve();  // expert 0: 3 entries, expert 1: 4
  EXPECT_EQ(state.expert_counts, (Values{3, 4}));
  EXPECT_EQ(state.expert_offsets, (Values{0, 4, 8}));
  EXPECT_EQ(transfers_of(state), (Transfers{{0, 0, 0, 0}, {0, 0, 4, 1}, {1, 0, 1, 0}, {1, 1, 0, 1}}));
  EXPECT_EQ(state.receive_counts, (Values{3, 4}));
  EXPECT_EQ(state.num_rows, 7);
}

TEST(Resolve, LevelsNoneKeepsTheOrderOfTheList) {
  Case test{.ids = {{2, 0}, {}}, .layout = Layout::expert_slots, .levels = ReductionLevels::none};
  EXPECT_EQ(transfers_of(test.resolve()), (Transfers{{0, 1, 0, 0}, {0, 0, 0, 1}}));
  test.levels = ReductionLevels::rank;
  EXPECT_EQ(transfers_of(test.resolve()), (Transfers{{0, 0, 0, 1}, {0, 1, 0, 0}}));
}

TEST(Resolve, RowsAtTheCapacityAreLost) {
  Case test{.ids = {{0, -1, 1, -1}, {0, -1}}, .capacity = 2};
  const RouteState& state = test.resolve();
  EXPECT_EQ(state.status.code, ErrorCode::capacity);
  EXPECT_EQ(state.status.rank, 0);
  EXPECT_EQ(state.status.needed, 3);
  EXPECT_EQ(state.status.capacity, 2);
  EXPECT_EQ(state.status.count, 1);
  EXPECT_EQ(state.receive_counts, (Values{2, 0}));
  EXPECT_TRUE(test.resolver.needs_recount());
  test.rank = 1;
  EXPECT_EQ(transfers_of(test.resolve()), (Transfers{{0, 0, kLostRow, 0}}));
  test.overflow = OverflowPolicy::drop;
  const RouteState& dropped = test.resolve();
  EXPECT_TRUE(transfers_of(dropped).empty());
  EXPECT_TRUE(dropped.status.ok());
  EXPECT_EQ(dropped.num_dropped, 1);
}

TEST(Resolve, ExpertMajorOverflowsWithItsPadding) {
  // Expert 0 has one entry, padded to 4; expert 1 starts at 4 and has one: 8 rows with padding.
  Case test{.ids = {{0, 1}, {}}, .layout = Layout::expert_major, .alignment = 4, .capacity = 5};
  const RouteState& state = test.resolve();
  EXPECT_EQ(state.status.code, ErrorCode::capacity);
  EXPECT_EQ(state.status.needed, 8);
  EXPECT_EQ(state.status.count, 0);  // though no row is lost
  EXPECT_EQ(state.expert_offsets, (Values{0, 4, 5}));
}

TEST(Resolve, SlotsNameTheFirstFullExpert) {
  Case test{.ids = {{1, 3, 1, 3}, {1, 3}}, .layout = Layout::expert_slots, .capacity = 2};
  const RouteState& state = test.resolve();
  EXPECT_EQ(state.status.rank, 0);
  EXPECT_EQ(state.status.expert, 1);
  EXPECT_EQ(state.status.needed, 3);
  EXPECT_EQ(state.status.count, 2);  // one on each rank
  EXPECT_EQ(state.expert_counts, (Values{0, 2}));
  EXPECT_EQ(state.expert_offsets, (Values{0, 2, 4}));
}

TEST(Resolve, AnExhaustedHeapOutranksThePolicy) {
  Case test{.ids = {{0, 2}, {2, 2}}, .overflow = OverflowPolicy::drop, .second_exhausted = true};
  const RouteState& state = test.resolve();
  EXPECT_EQ(state.status.code, ErrorCode::heap_exhausted);
  EXPECT_EQ(state.status.rank, 1);
  EXPECT_EQ(state.status.needed, 77);
  EXPECT_EQ(state.status.capacity, 11);
  EXPECT_EQ(state.status.count, 2);
  EXPECT_EQ(state.num_dropped, 0);
  EXPECT_EQ(transfers_of(state), (Transfers{{0, 0, 0, 0}, {0, 1, kLostRow, 1}}));
}

TEST(Resolve, InvalidIdsAreTheMildestStatus) {
  Case test{.ids = {{0, -1}, {9, -5}}};
  const RouteState& state = test.resolve();
  EXPECT_EQ(state.status.code, ErrorCode::invalid_id);
  EXPECT_EQ(state.status.rank, 1);
  EXPECT_EQ(state.status.needed, 9);
  EXPECT_EQ(state.status.capacity, 4);
  EXPECT_EQ(state.status.count, 2);
}

}  // namespace
}  // namespace railyard::routing
