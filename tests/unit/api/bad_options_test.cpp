// SPDX-License-Identifier: Apache-2.0
// Options outside their limits are refused with value and limit: groups, placements, views, the bytes asked for.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

struct OptionCase {
  std::string what;
  std::function<void(GroupOptions&)> change;
  std::vector<std::string> parts;  // of the message
};

GroupOptions valid_options() { return plain_scenario({.ranks = 2, .experts_per_rank = 4}, Mode::throughput).options; }

const std::vector<OptionCase>& option_cases() {
  static const std::vector<OptionCase> cases = {
      {"no experts", [](GroupOptions& o) { o.num_experts = 0; }, {"num_experts", "0", "1"}},
      {"negative experts", [](GroupOptions& o) { o.num_experts = -8; }, {"num_experts", "-8"}},
      {"experts", [](GroupOptions& o) { o.num_experts = 1'048'577; }, {"num_experts", "1048577", "1048576"}},
      {"no top_k", [](GroupOptions& o) { o.max_top_k = 0; }, {"max_top_k", "0", "1", "32"}},
      {"top_k", [](GroupOptions& o) { o.max_top_k = 33; }, {"max_top_k", "33", "32"}},
      {"negative tokens", [](GroupOptions& o) { o.max_tokens = -1; }, {"max_tokens", "-1", "0"}},
      {"tokens", [](GroupOptions& o) { o.max_tokens = 16'777'217; }, {"max_tokens", "16777217", "16777216"}},
      {"no hidden", [](GroupOptions& o) { o.hidden = 0; }, {"hidden", "0", "8"}},
      {"odd hidden", [](GroupOptions& o) { o.hidden = 12; }, {"hidden", "12", "8"}},
      {"hidden", [](GroupOptions& o) { o.hidden = 1'048'584; }, {"hidden", "1048584", "1048576"}},
      {"row dtype", [](GroupOptions& o) { o.row_dtype = static_cast<DType>(99); }, {"row_dtype", "99"}},
      {"mode", [](GroupOptions& o) { o.mode = static_cast<Mode>(9); }, {"mode", "9"}},
      {"levels", [](GroupOptions& o) { o.levels = static_cast<ReductionLevels>(9); }, {"levels", "9"}},
      {"order", [](GroupOptions& o) { o.order = static_cast<ReductionOrder>(9); }, {"order", "9"}},
      {"overflow", [](GroupOptions& o) { o.overflow = static_cast<OverflowPolicy>(9); }, {"overflow", "9"}},
      {"on_timeout", [](GroupOptions& o) { o.on_timeout = static_cast<TimeoutPolicy>(9); }, {"on_timeout", "9"}},
      {"gpu_handles", [](GroupOptions& o) { o.gpu_handles = static_cast<GpuHandles>(9); }, {"gpu_handles", "9"}},
      {"order without levels",
       [](GroupOptions& o) {
         o.levels = ReductionLevels::none;
         o.order = ReductionOrder::highest_k;
       },
       {"order", "highest_k", "none"}},
      {"nothing in flight", [](GroupOptions& o) { o.max_in_flight = 0; }, {"max_in_flight", "0", "1", "16"}},
      {"in flight", [](GroupOptions& o) { o.max_in_flight = 17; }, {"max_in_flight", "17", "16"}},
      {"placement of other experts",
       [](GroupOptions& o) {
         o.placement = Placement::blocks({3, 4});
       },
       {"placement", "7", "8"}},
      {"placement of other ranks",
       [](GroupOptions& o) {
         o.placement = Placement::blocks({3, 3, 2});
       },
       {"placement", "3", "2"}},
      {"heap limit below the heap",
       [](GroupOptions& o) {
         o.heap_bytes = std::size_t{2} << 20;
         o.heap_limit_bytes = std::size_t{1} << 20;
       },
       {"heap_limit_bytes", "1048576", "2097152"}},
      {"negative timeout", [](GroupOptions& o) { o.timeout = std::chrono::nanoseconds(-5); }, {"timeout", "-5"}},
  };
  return cases;
}

TEST(BadOptions, OfAGroupAreRefusedBeforeAnythingIsSent) {
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& outer) {
                        for (const OptionCase& bad : option_cases()) {
                          GroupOptions options = valid_options();
                          bad.change(options);
                          expect_error(outer.at(bad.what), ErrorCode::invalid_argument, bad.parts,
                                       [&] { Group group(rank, options); });
                        }
                        Group group(rank, valid_options());
                        outer.equal(4, group.local_experts(), "local experts of the valid group");
                      }),
            "");
}

TEST(BadOptions, AHeapWithoutRoomForTheGroupItself) {
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = valid_options();
                        options.heap_bytes = 256;
                        expect_error(place, ErrorCode::heap_exhausted, {"256", "control memory"},
                                     [&] { Group group(rank, options); });
                      }),
            "");
}

TEST(BadOptions, OneRankRefusedWhileTheOtherWaits) {
  EXPECT_EQ(
      run_ranks(
          2,
          [&](Rank& rank, const Place& place) {
            if (rank.index() == 0) {
              GroupOptions options = valid_options();
              options.hidden = 9;
              expect_error(place, ErrorCode::invalid_argument, {"hidden", "9"}, [&] { Group group(rank, options); });
            }
            Group group(rank, valid_options());
            place.equal(2, group.size(), "size");
          }),
      "");
}

TEST(BadOptions, BytesNeededThrowsLikeTheConstructor) {
  Report report;
  for (const OptionCase& bad : option_cases()) {
    GroupOptions options = valid_options();
    bad.change(options);
    if (bad.what.starts_with("heap") || bad.what == "negative timeout") {
      continue;
    }
    expect_error({&report, bad.what}, ErrorCode::invalid_argument, bad.parts,
                 [&] { static_cast<void>(Group::bytes_needed(options, 2)); });
  }
  expect_error({&report, "world size"}, ErrorCode::invalid_argument, {"0"},
               [&] { static_cast<void>(Group::bytes_needed(valid_options(), 0)); });
  EXPECT_EQ(report.text(), "");
}

TEST(BadOptions, BytesNeededGrowsWithWhatItCounts) {
  const std::size_t base = Group::bytes_needed(valid_options(), 2);
  const auto with = [&](const std::function<void(GroupOptions&)>& change) {
    GroupOptions options = valid_options();
    change(options);
    return Group::bytes_needed(options, 2);
  };
  EXPECT_GT(base, std::size_t{2 * 2 * 2 * 6 * 24 * 2});  // in flight, dispatched and combined, ranks * tokens rows
  EXPECT_GT(with([](GroupOptions& o) { o.max_tokens = 600; }), base);
  EXPECT_GT(with([](GroupOptions& o) { o.hidden = 4096; }), base);
  EXPECT_GT(with([](GroupOptions& o) { o.max_in_flight = 8; }), base);
  EXPECT_GT(Group::bytes_needed(valid_options(), 2, Layout::expert_slots), base);
  GroupOptions wide = valid_options();
  wide.hidden = 4096;
  const std::size_t bf16 = Group::bytes_needed(wide, 2);
  wide.row_dtype = DType::fp32;
  EXPECT_GT(Group::bytes_needed(wide, 2), bf16);
}

TEST(BadOptions, OfAPlacement) {
  Report report;
  const Place place{&report, "placement"};
  const auto code = ErrorCode::invalid_argument;
  expect_error(place, code, {"0"}, [] { static_cast<void>(Placement::contiguous(8, 0)); });
  expect_error(place, code, {"-2"}, [] { static_cast<void>(Placement::contiguous(8, -2)); });
  expect_error(place, code, {"0"}, [] { static_cast<void>(Placement::contiguous(0, 2)); });
  expect_error(place, code, {"-1"}, [] { static_cast<void>(Placement::blocks({2, -1})); });
  expect_error(place, code, {}, [] { static_cast<void>(Placement::blocks({0, 0})); });
  expect_error(place, code, {}, [] { static_cast<void>(Placement::blocks({})); });
  EXPECT_EQ(report.text(), "");
}

TEST(BadOptions, OfAView) {
  Report report;
  const Place place{&report, "view"};
  float value = 0;
  expect_error(place, ErrorCode::invalid_argument, {"-1"}, [&] {
    static_cast<void>(ConstTensorView(&value, DType::fp32, {2, -1}));
  });
  expect_error(place, ErrorCode::invalid_argument, {"4", "3"}, [&] {
    static_cast<void>(ConstTensorView(&value, DType::fp32, {1, 1, 1, 1}));
  });
  expect_error(place, ErrorCode::invalid_argument, {"-2"},
               [&] { static_cast<void>(ConstTensorView::rows(&value, DType::fp32, -2, 1, 1)); });
  EXPECT_EQ(report.text(), "");
}

}  // namespace
}  // namespace railyard::multi_rank
