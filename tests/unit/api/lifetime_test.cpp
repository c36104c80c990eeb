// SPDX-License-Identifier: Apache-2.0
// Objects that were moved from, or never made, say RY-DESTROYED; growth of the heap; what a group reports.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

TEST(Lifetime, ARouteThatHoldsNothing) {
  Report report;
  const Route empty;
  EXPECT_FALSE(static_cast<bool>(empty));
  const std::vector<std::pair<std::string, std::function<void()>>> calls = {
      {"layout", [&] { static_cast<void>(empty.layout()); }},
      {"alignment", [&] { static_cast<void>(empty.alignment()); }},
      {"top_k", [&] { static_cast<void>(empty.top_k()); }},
      {"capacity", [&] { static_cast<void>(empty.capacity()); }},
      {"num_tokens", [&] { static_cast<void>(empty.num_tokens()); }},
      {"send_counts", [&] { static_cast<void>(empty.send_counts()); }},
      {"num_rows", [&] { static_cast<void>(empty.num_rows()); }},
      {"receive_counts", [&] { static_cast<void>(empty.receive_counts()); }},
      {"expert_counts", [&] { static_cast<void>(empty.expert_counts()); }},
      {"expert_offsets", [&] { static_cast<void>(empty.expert_offsets()); }},
      {"expert_ids", [&] { static_cast<void>(empty.expert_ids()); }},
      {"origins", [&] { static_cast<void>(empty.origins()); }},
      {"status", [&] { static_cast<void>(empty.status()); }},
      {"check", [&] { empty.check(); }},
      {"num_dropped", [&] { static_cast<void>(empty.num_dropped()); }},
  };
  for (const auto& [what, call] : calls) {
    expect_error({&report, what}, ErrorCode::destroyed, {}, call);
  }
  EXPECT_EQ(report.text(), "");
}

TEST(Lifetime, AGroupThatWasMovedFrom) {
  const Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  const PlainRound plain = plain_round(scenario, 3, Layout::expert_major);
  EXPECT_EQ(
      run_ranks(2,
                [&](Rank& rank, const Place& outer) {
                  Group old(rank, scenario.options);
                  const PlainInput input(rank.device(), plain, rank.index());
                  const Dispatched got = old.dispatch(input.x.view, input.ids.view, input.options);
                  Route moved_route = got.route;
                  const Route kept = std::move(moved_route);
                  Group group = std::move(old);
                  const Buffer out(rank.device(), std::size_t{6 * 24 * 2});
                  const TensorView out_view(out.data(), DType::bf16, {6, 24}, rank.device());
                  const std::vector<std::pair<std::string, std::function<void()>>> calls = {
                      {"rank", [&] { static_cast<void>(old.rank()); }},
                      {"size", [&] { static_cast<void>(old.size()); }},
                      {"options", [&] { static_cast<void>(old.options()); }},
                      {"local_experts", [&] { static_cast<void>(old.local_experts()); }},
                      {"dispatch", [&] { static_cast<void>(old.dispatch(input.x.view, input.ids.view)); }},
                      {"cached dispatch", [&] { static_cast<void>(old.dispatch(input.x.view, kept)); }},
                      {"dispatch_send", [&] { static_cast<void>(old.dispatch_send(input.x.view, input.ids.view)); }},
                      {"route", [&] { static_cast<void>(old.route(input.ids.view)); }},
                      {"route_from_mask", [&] { static_cast<void>(old.route_from_mask(input.ids.view)); }},
                      {"combine", [&] { static_cast<void>(old.combine(got.rows, kept, out_view)); }},
                      {"combine_send", [&] { static_cast<void>(old.combine_send(got.rows, kept, out_view)); }},
                      {"allocate", [&] { static_cast<void>(old.allocate({4}, DType::bf16)); }},
                      {"grow_heap", [&] { old.grow_heap(4096); }},
                      {"set_timeout", [&] { old.set_timeout(std::chrono::seconds(1)); }},
                      {"statistics", [&] { static_cast<void>(old.statistics()); }},
                      {"moved route", [&] { static_cast<void>(group.dispatch(input.x.view, moved_route)); }},
                      {"combine along a moved route",
                       [&] { static_cast<void>(group.combine(got.rows, moved_route, out_view)); }},
                  };
                  for (const auto& [what, call] : calls) {
                    expect_error(outer.at(what), ErrorCode::destroyed, {}, call);
                  }
                  round_trip(outer, group, scenario, plain, rank.device());
                  // A send part moves with its handle.
                  PendingDispatch pending = group.dispatch_send(input.x.view, input.ids.view, input.options);
                  PendingDispatch other = std::move(pending);
                  expect_error(outer.at("moved send part"), ErrorCode::destroyed, {},
                               [&] { static_cast<void>(pending.receive()); });
                  check_plain(outer, scenario, plain, rank.index(), other.receive());
                }),
      "");
}

TEST(Lifetime, ASendPartAfterItsGroup) {
  Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  const PlainRound plain = plain_round(scenario, 3, Layout::expert_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        std::optional<Group> group(std::in_place, rank, scenario.options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        PendingDispatch pending = group->dispatch_send(input.x.view, input.ids.view, input.options);
                        rank.barrier();
                        group.reset();
                        // Either it was kept alive and is right, or it says so.
                        try {
                          check_plain(place, scenario, plain, rank.index(), pending.receive());
                        } catch (const Error& error) {
                          place.require(error.code() == ErrorCode::destroyed, error.what());
                        }
                      }),
            "");
}

TEST(Lifetime, TheHeapGrowsUpToItsLimit) {
  Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  scenario.options.heap_bytes = std::size_t{1} << 20;
  scenario.options.heap_limit_bytes = std::size_t{2} << 20;
  const PlainRound plain = plain_round(scenario, 3, Layout::expert_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Dispatched before = group.dispatch(input.x.view, input.ids.view, input.options);
                        const auto large = static_cast<std::int64_t>((std::size_t{1} << 20) + (std::size_t{1} << 18));
                        expect_error(place, ErrorCode::heap_exhausted, {std::to_string(large)},
                                     [&] { static_cast<void>(group.allocate({large}, DType::uint8)); });
                        expect_error(place, ErrorCode::invalid_argument, {"2097152"},
                                     [&] { group.grow_heap(std::size_t{2} << 20); });
                        group.grow_heap(std::size_t{1} << 20);
                        place.equal(std::size_t{2} << 20, group.statistics().heap_bytes, "heap bytes after growth");
                        const Tensor block = group.allocate({large / 2}, DType::uint8);
                        fill(block, std::byte{0x22});
                        check_plain(place.at("leased before"), scenario, plain, rank.index(), before);
                        round_trip(place, group, scenario, plain, rank.device());
                        place.require(download(block) ==
                                          std::vector<std::byte>(static_cast<std::size_t>(large / 2), std::byte{0x22}),
                                      "a block of the grown heap changed");
                        expect_error(place, ErrorCode::invalid_argument, {"2097152"}, [&] { group.grow_heap(4096); });
                      }),
            "");
}

TEST(Lifetime, WireBytesCountRowsToOtherRanks) {
  for (const Mode mode : {Mode::throughput, Mode::low_latency}) {
    Scenario scenario = plain_scenario({}, mode);
    const PlainRound plain = plain_round(scenario, 3, Layout::rank_major);
    EXPECT_EQ(run_ranks(3,
                        [&](Rank& rank, const Place& place) {
                          Group group(rank, scenario.options);
                          const PlainInput input(rank.device(), plain, rank.index());
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                          const auto& counts =
                              plain.expected.dispatched.front().sources[static_cast<std::size_t>(rank.index())].counts;
                          std::uint64_t rows = 0;
                          for (std::size_t peer = 0; peer < counts.size(); ++peer) {
                            rows +=
                                static_cast<int>(peer) == rank.index() ? 0 : static_cast<std::uint64_t>(counts[peer]);
                          }
                          place.equal(rows * 24 * 2, group.statistics().wire_bytes, "wire bytes of a dispatch");
                          place.equal(std::uint64_t{1}, group.statistics().dispatches, "dispatches");
                          place.equal(0, static_cast<int>(group.statistics().routes), "routes");
                          place.equal(std::uint64_t{0}, group.statistics().bytes_copied, "bytes copied");
                          place.require(group.options().hidden == 24 && group.rank() == rank.index(),
                                        "what the group reports of itself");
                        }),
              "");
  }
}

}  // namespace
}  // namespace railyard::multi_rank
