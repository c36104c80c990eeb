// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/expected.hpp"
#include "cli/bench/limits.hpp"
#include "cli/bench/session.hpp"
#include "cli/bench/timing.hpp"
#include "cli/bench/traffic.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <thread>

namespace railyard::cli::bench {
namespace {

Options options_with(Routing routing, double skew = 0.0) {
  Options options;
  options.experts = 32;
  options.top_k = 4;
  options.routing = routing;
  options.skew = skew;
  return options;
}

TEST(ChooseExperts, IdsAreDistinctAndWeightsSumToOne) {
  for (const Routing routing : {Routing::uniform, Routing::zipf, Routing::group_limited}) {
    const Options options = options_with(routing, routing == Routing::zipf ? 1.2 : 0.0);
    const Choices choices = choose_experts(options, 200, 1, 2);
    ASSERT_EQ(choices.ids.size(), 800U);
    for (std::size_t first = 0; first < choices.ids.size(); first += 4) {
      const std::set<std::int32_t> ids(choices.ids.begin() + static_cast<std::ptrdiff_t>(first),
                                       choices.ids.begin() + static_cast<std::ptrdiff_t>(first + 4));
      EXPECT_EQ(ids.size(), 4U);
      EXPECT_GE(*ids.begin(), 0);
      EXPECT_LT(*ids.rbegin(), 32);
      EXPECT_NEAR(std::accumulate(&choices.weights[first], &choices.weights[first] + 4, 0.0F), 1.0F, 1e-5F);
    }
  }
}

TEST(ChooseExperts, DependsOnSeedRankAndSlotAlone) {
  Options options = options_with(Routing::zipf, 1.0);
  const Choices first = choose_experts(options, 50, 0, 0);
  EXPECT_EQ(first.ids, choose_experts(options, 50, 0, 0).ids);
  EXPECT_NE(first.ids, choose_experts(options, 50, 1, 0).ids);
  EXPECT_NE(first.ids, choose_experts(options, 50, 0, 1).ids);
  options.seed = 2;
  EXPECT_NE(first.ids, choose_experts(options, 50, 0, 0).ids);
}

/// Share of all entries that the most chosen expert has.
double largest_share(const Options& options) {
  std::map<std::int32_t, int> counts;
  const Choices choices = choose_experts(options, 4000, 0, 0);
  for (const std::int32_t id : choices.ids) {
    ++counts[id];
  }
  const auto most = std::max_element(counts.begin(), counts.end(),
                                     [](const auto& left, const auto& right) { return left.second < right.second; });
  return most->second / static_cast<double>(choices.ids.size());
}

TEST(ChooseExperts, ZipfIsAsSkewedAsAskedAndUniformIsNot) {
  // One of four places goes to an expert that every token chooses: a share of 1/4 is the most there is. Uniform: 1/32.
  EXPECT_NEAR(largest_share(options_with(Routing::uniform)), 1.0 / 32, 0.006);
  EXPECT_NEAR(largest_share(options_with(Routing::zipf, 0.0)), 1.0 / 32, 0.006);
  const double mild = largest_share(options_with(Routing::zipf, 0.7));
  const double strong = largest_share(options_with(Routing::zipf, 2.0));
  EXPECT_GT(mild, 0.06);
  EXPECT_GT(strong, 0.20);
  EXPECT_LE(strong, 0.25);
}

TEST(ChooseExperts, GroupLimitedStaysInFourOfEightGroups) {
  Options options = options_with(Routing::group_limited);
  options.top_k = 8;
  const Choices choices = choose_experts(options, 300, 0, 0);
  for (std::size_t first = 0; first < choices.ids.size(); first += 8) {
    std::set<std::int32_t> groups;
    for (std::size_t k = 0; k < 8; ++k) {
      groups.insert(choices.ids[first + k] / 4);
    }
    EXPECT_LE(groups.size(), 4U);
  }
}

TEST(Arrivals, AreOrderedAsEachLayoutSays) {
  Options options;
  options.experts = 4;
  options.top_k = 2;
  options.ranks = 2;
  const Placement placement = Placement::contiguous(4, 2);
  const Choices zero{{2, 3, 3, 0}, {}};  // rank 0: token 0 to experts 2 and 3, token 1 to 3 and 0
  const Choices one{{1, 2}, {}};         // rank 1: token 0 to experts 1 and 2
  const auto rows_of = [](const Arrivals& arrivals) {
    std::vector<std::vector<std::int64_t>> rows;
    for (const PlacedRow& row : arrivals.rows) {
      rows.push_back({row.row, row.source, row.token, row.k});
    }
    std::sort(rows.begin(), rows.end());
    return rows;
  };
  using Rows = std::vector<std::vector<std::int64_t>>;

  const Arrivals by_rank = arrivals_at(options, placement, {&zero, &one}, 1, 9);
  EXPECT_EQ(rows_of(by_rank), (Rows{{0, 0, 0, 0}, {1, 0, 1, 0}, {2, 1, 0, 1}}));
  EXPECT_EQ(by_rank.needed, 3);
  EXPECT_EQ(by_rank.expert_counts, (std::vector<std::int32_t>{2, 2}));

  options.layout = Layout::expert_major;
  const Arrivals by_expert = arrivals_at(options, placement, {&zero, &one}, 1, 9);
  EXPECT_EQ(rows_of(by_expert), (Rows{{0, 0, 0, 0}, {1, 1, 0, 1}, {kAlignment, 0, 0, 1}, {kAlignment + 1, 0, 1, 0}}));
  EXPECT_EQ(by_expert.needed, 2 * kAlignment);

  options.layout = Layout::expert_slots;
  const Arrivals by_slot = arrivals_at(options, placement, {&zero, &one}, 1, 9);
  EXPECT_EQ(rows_of(by_slot), (Rows{{0, 0, 0, 0}, {1, 1, 0, 1}, {9, 0, 0, 1}, {10, 0, 1, 0}}));
  EXPECT_EQ(by_slot.needed, 2);
}

TEST(Traffic, TheBusierDirectionOfTheBusiestCounts) {
  // Rank 2 receives most; its own rows stay.
  const std::vector<std::vector<double>> rows{{5, 1, 10}, {2, 5, 20}, {3, 4, 99}};
  const Traffic apart(rows, {0, 1, 2});
  EXPECT_EQ(apart.wire_bytes(100), 3000);
  Limits limits;
  EXPECT_DOUBLE_EQ(apart.limit_us(100, limits, "push"), 0.0);
  limits.links = {{"push", "bulk", 8, 1.0}, {"pull", "bulk", 8, 2.0}, {"local_copy", "bulk", 132, 1000.0}};
  EXPECT_DOUBLE_EQ(apart.limit_us(100, limits, "push"), 3.0);
  EXPECT_DOUBLE_EQ(apart.limit_us(100, limits, "pull"), 1.5);
}

TEST(Traffic, RanksOfOneGpuShareItsMemory) {
  const std::vector<std::vector<double>> rows{{5, 1, 10}, {2, 5, 20}, {3, 4, 99}};
  const Traffic together(rows, {7, 7, 7});
  EXPECT_EQ(together.wire_bytes(100), 3000);  // between ranks all the same
  Limits limits;
  limits.links = {{"push", "bulk", 8, 1.0}, {"local_copy", "bulk", 132, 2.0}};
  EXPECT_DOUBLE_EQ(together.limit_us(100, limits, "push"), 149 * 100 / 2.0 * 1e-3);
  const Traffic pair(rows, {0, 0, 1});
  EXPECT_DOUBLE_EQ(pair.limit_us(100, limits, "push"), 99 * 100 / 2.0 * 1e-3);  // longer than 30 rows across
}

TEST(CountSlots, BuffersRotateBeyondTheCachesOrAreReused) {
  Options options = options_with(Routing::uniform);
  const Payload payload = payloads_of(Codec::bf16).front();
  EXPECT_GT(count_slots(options, payload, 16), kReusedSlots);
  EXPECT_GE(count_slots(options, payload, 1 << 14), kReusedSlots);
  options.reuse_buffers = true;
  EXPECT_EQ(count_slots(options, payload, 16), kReusedSlots);
}

TEST(Series, MedianAndPercentileOfKnownValues) {
  EXPECT_DOUBLE_EQ(Series({3.0}).median(), 3.0);
  EXPECT_DOUBLE_EQ(Series({3.0}).p99(), 3.0);
  EXPECT_DOUBLE_EQ(Series({4.0, 1.0}).median(), 2.5);
  EXPECT_DOUBLE_EQ(Series({4.0, 1.0}).p99(), 4.0);
  std::vector<double> hundred(100);
  std::iota(hundred.rbegin(), hundred.rend(), 1.0);
  EXPECT_DOUBLE_EQ(Series(hundred).median(), 50.5);
  EXPECT_DOUBLE_EQ(Series(hundred).p99(), 99.0);
  hundred.push_back(1000.0);
  EXPECT_DOUBLE_EQ(Series(hundred).p99(), 100.0);
}

TEST(TimeTogether, TakesTheSlowestRankAndLeavesPreparationOut) {
  World world = World::threads(3);
  const Series series =
      time_together(world, 1, 3,
                    {.prepare = [](int, int) { std::this_thread::sleep_for(std::chrono::milliseconds(150)); },
                     .work =
                         [](int rank, int) {
                           if (rank == 1) {
                             std::this_thread::sleep_for(std::chrono::milliseconds(5));
                           }
                         }});
  EXPECT_EQ(series.size(), 3U);
  EXPECT_GE(series.median(), 5000.0);
  EXPECT_LT(series.median(), 150000.0);
}

TEST(TimeTogether, NobodyStartsBeforeTheLastIsReady) {
  World world = World::threads(4);
  std::atomic<int> ready{0};
  std::atomic<int> early{0};
  (void)time_together(world, 0, 50,
                      {.prepare = [&](int, int) { ++ready; },
                       .work =
                           [&](int, int iteration) {
                             if (ready.load() < 4 * (iteration + 1)) {
                               ++early;
                             }
                           }});
  EXPECT_EQ(early.load(), 0);
}

TEST(TimeInTurn, AlternatesAndKeepsTheSeriesApart) {
  World world = World::threads(2);
  std::vector<int> order;
  const auto sleep_on_rank_0 = [&order](int number, std::chrono::milliseconds time) {
    return TimedWork{.work = [&order, number, time](int rank, int) {
      if (rank == 0) {
        order.push_back(number);
        std::this_thread::sleep_for(time);
      }
    }};
  };
  const std::vector<Series> series = time_in_turn(
      world, 1, 2,
      {sleep_on_rank_0(1, std::chrono::milliseconds(0)), sleep_on_rank_0(2, std::chrono::milliseconds(60))});
  EXPECT_EQ(order, (std::vector<int>{1, 2, 1, 2, 1, 2}));
  ASSERT_EQ(series.size(), 2U);
  EXPECT_GE(series[1].median(), 60000.0);
  EXPECT_LT(series[0].median(), 60000.0);
}

TEST(TimeTogether, AFailingRankEndsTheOthersAndIsNamed) {
  World world = World::threads(3);
  try {
    (void)time_together(world, 0, 10, {.work = [](int rank, int iteration) {
                          if (rank == 2 && iteration == 3) {
                            throw Error(ErrorCode::capacity, "on purpose");
                          }
                        }});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::capacity);
    EXPECT_NE(std::string(error.what()).find("on purpose"), std::string::npos);
  }
}

}  // namespace
}  // namespace railyard::cli::bench
