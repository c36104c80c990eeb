// SPDX-License-Identifier: Apache-2.0
// What an operation returned belongs to whoever holds it: later operations leave it alone, its bytes return when the
// last holder lets go, and it may outlive the group and the world.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

constexpr std::size_t kHeapBytes = std::size_t{8} << 20;

/// A permutation of [0, n) that depends on the seed alone.
std::vector<std::size_t> shuffled(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::size_t> order(n);
  for (std::size_t i = 0; i < n; ++i) {
    order[i] = i;
    std::swap(order[i], order[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i) + 1))]);
  }
  return order;
}

class HeldOutputs : public ::testing::TestWithParam<std::tuple<Mode, Layout>> {
 protected:
  Scenario scenario_ = plain_scenario({}, std::get<0>(GetParam()));
  Layout layout_ = std::get<1>(GetParam());

  std::vector<PlainRound> rounds(std::size_t count, std::uint64_t seed) {
    scenario_.options.heap_bytes = kHeapBytes;
    std::vector<PlainRound> made;
    for (std::size_t i = 0; i < count; ++i) {
      made.push_back(plain_round(scenario_, seed + i, layout_));
    }
    return made;
  }
};

TEST_P(HeldOutputs, SurviveSixteenLaterDispatchesAndReturnTheirBytes) {
  const std::vector<PlainRound> made = rounds(17, 100);
  EXPECT_EQ(
      run_ranks(
          scenario_.ranks(),
          [&](Rank& rank, const Place& place) {
            Group group(rank, scenario_.options);
            round_trip(place.at("warm-up"), group, scenario_, made[0], rank.device());
            const std::size_t in_use = group.statistics().heap_bytes_in_use;
            std::vector<std::optional<Dispatched>> held;
            std::vector<std::vector<std::byte>> content;
            for (std::size_t i = 0; i < made.size(); ++i) {
              const PlainInput input(rank.device(), made[i], rank.index());
              held.emplace_back(
                  group.dispatch(input.x.view, input.ids.view, input.options, backend().stream(rank.device())));
              check_plain(place.at("dispatch " + std::to_string(i)), scenario_, made[i], rank.index(), *held.back());
              // In place, as an activation function would; padding and tail too.
              fill(held.back()->rows, static_cast<std::byte>(i + 1));
              content.push_back(download(held.back()->rows));
            }
            place.require(group.statistics().heap_bytes_in_use > in_use, "held leases are not counted");
            const std::vector<std::size_t> order = shuffled(held.size(), static_cast<std::uint64_t>(rank.index()));
            for (std::size_t i = 0; i < order.size(); ++i) {
              const std::size_t which = order[i];
              place.require(download(held[which]->rows) == content[which],
                            "lease " + std::to_string(which) + " changed");
              compare_route(place.at("held"), made[which].expected.dispatched.front(), rank.index(),
                            held[which]->route);
              if (i % 2 == 0) {
                std::thread([&] { held[which].reset(); }).join();
              } else {
                held[which].reset();
              }
            }
            place.equal(in_use, group.statistics().heap_bytes_in_use, "bytes in use after the last release");
            place.require(group.statistics().heap_bytes_peak > in_use, "the peak was not recorded");
          }),
      "");
}

TEST_P(HeldOutputs, ReleasedWhileOthersOperate) {
  const std::vector<PlainRound> made = rounds(24, 200);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        std::vector<std::thread> releasing;
                        for (const PlainRound& plain : made) {
                          const PlainInput input(rank.device(), plain, rank.index());
                          Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options,
                                                          backend().stream(rank.device()));
                          check_plain(place, scenario_, plain, rank.index(), got);
                          releasing.emplace_back([held = std::move(got)]() mutable {
                            std::this_thread::yield();
                            held = Dispatched{};
                          });
                        }
                        for (std::thread& thread : releasing) {
                          thread.join();
                        }
                        const std::size_t empty = group.statistics().heap_bytes_in_use;
                        round_trip(place, group, scenario_, made.front(), rank.device());
                        place.equal(empty, group.statistics().heap_bytes_in_use, "bytes in use once all is released");
                      }),
            "");
}

TEST_P(HeldOutputs, RoutesAreUsedLaterInAnyOrder) {
  const std::vector<PlainRound> made = rounds(7, 300);
  EXPECT_EQ(
      run_ranks(
          scenario_.ranks(),
          [&](Rank& rank, const Place& place) {
            Group group(rank, scenario_.options);
            std::vector<Route> routes;
            for (std::size_t i = 0; i < made.size(); ++i) {
              const PlainInput input(rank.device(), made[i], rank.index());
              if (i % 2 == 0) {
                routes.push_back(group.route(input.ids.view, {.layout = layout_}, backend().stream(rank.device())));
              } else {
                routes.push_back(
                    group.dispatch(input.x.view, input.ids.view, input.options, backend().stream(rank.device())).route);
              }
            }
            for (std::uint64_t pass = 0; pass < 2; ++pass) {
              for (const std::size_t which : shuffled(routes.size(), 7 + pass)) {
                const Place here = place.at("route " + std::to_string(which));
                const PlainInput input(rank.device(), made[which], rank.index());
                const Dispatched got = group.dispatch(input.x.view, routes[which], {.weights = input.options.weights},
                                                      backend().stream(rank.device()));
                check_plain(here, scenario_, made[which], rank.index(), got);
                combine_plain(here, group, scenario_, made[which], routes[which]);
              }
            }
            place.equal(std::uint64_t{(made.size() + 1) / 2}, group.statistics().routes, "routes in the statistics");
          }),
      "");
}

TEST_P(HeldOutputs, OutliveGroupAndWorld) {
  const std::vector<PlainRound> made = rounds(2, 400);
  struct Kept {
    Dispatched dispatched;
    Tensor allocated;
    Route route;
  };
  std::vector<std::optional<Kept>> kept(static_cast<std::size_t>(scenario_.ranks()));
  EXPECT_EQ(
      run_ranks(
          scenario_.ranks(),
          [&](Rank& rank, const Place& place) {
            Group group(rank, scenario_.options);
            const PlainInput input(rank.device(), made[0], rank.index());
            Dispatched got =
                group.dispatch(input.x.view, input.ids.view, input.options, backend().stream(rank.device()));
            Tensor allocated = group.allocate({5, 24}, DType::fp32, backend().stream(rank.device()));
            fill(allocated, std::byte{0x11});
            Route route = got.route;
            kept[static_cast<std::size_t>(rank.index())] = Kept{std::move(got), std::move(allocated), std::move(route)};
            round_trip(place, group, scenario_, made[1], rank.device());
          }),
      "");
  Report report;
  for (int rank = 0; rank < scenario_.ranks(); ++rank) {
    const Kept& mine = *kept[static_cast<std::size_t>(rank)];
    check_plain({&report, "rank " + std::to_string(rank)}, scenario_, made[0], rank, mine.dispatched);
    EXPECT_EQ(download(mine.allocated), std::vector<std::byte>(5 * 24 * 4, std::byte{0x11}));
  }
  EXPECT_EQ(report.text(), "");
  for (const std::size_t rank : shuffled(kept.size(), 3)) {
    std::thread([&] { kept[rank].reset(); }).join();
  }
}

TEST_P(HeldOutputs, BytesNeededIsEnoughForWhatItNames) {
  const std::vector<PlainRound> made = rounds(2, 500);
  GroupOptions options = scenario_.options;
  options.heap_bytes = 0;
  options.heap_bytes = Group::bytes_needed(options, scenario_.ranks(), layout_, backend().device_kind());
  options.max_in_flight = 2;
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, options);
                        std::vector<Dispatched> held;
                        std::vector<Tensor> inputs;
                        for (const PlainRound& plain : made) {
                          const PlainInput input(rank.device(), plain, rank.index());
                          held.push_back(group.dispatch(input.x.view, input.ids.view, input.options,
                                                        backend().stream(rank.device())));
                          check_plain(place, scenario_, plain, rank.index(), held.back());
                          const auto r = static_cast<std::size_t>(rank.index());
                          inputs.push_back(group.allocate(
                              {flat_rows(scenario_, plain.round, rank.index()), scenario_.options.hidden}, DType::bf16,
                              backend().stream(rank.device())));
                          place.require(!plain.round.granted.empty() && r < plain.round.granted.size(),
                                        "a grant for each rank");
                        }
                        place.require(group.statistics().heap_bytes <= options.heap_bytes,
                                      "the heap is larger than its budget");
                      }),
            "");
}

INSTANTIATE_TEST_SUITE_P(Modes, HeldOutputs,
                         ::testing::Combine(::testing::Values(Mode::throughput, Mode::low_latency),
                                            ::testing::Values(Layout::rank_major, Layout::expert_major,
                                                              Layout::expert_slots)),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) + "_" +
                                  std::string(name(std::get<1>(test.param)));
                         });

}  // namespace
}  // namespace railyard::multi_rank
