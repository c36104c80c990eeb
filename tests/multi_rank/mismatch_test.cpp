// SPDX-License-Identifier: Apache-2.0
// Ranks that disagree: about a group's options, about an operation, and a call that one of them had refused.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

struct FieldCase {
  std::string field;
  std::function<void(GroupOptions&)> change;  // at rank 1
  std::string ours;
  std::string theirs;
};

TEST(Mismatch, EachFieldOfGroupOptionsIsNamedWithBothValues) {
  GroupOptions base = plain_scenario({.ranks = 3, .experts_per_rank = 4}, Mode::throughput).options;
  base.heap_bytes = std::size_t{1} << 20;
  base.heap_limit_bytes = std::size_t{2} << 20;
  const std::vector<FieldCase> cases = {
      {"num_experts", [](GroupOptions& o) { o.num_experts = 13; }, "12", "13"},
      {"max_top_k", [](GroupOptions& o) { o.max_top_k = 4; }, "3", "4"},
      {"max_tokens", [](GroupOptions& o) { o.max_tokens = 7; }, "6", "7"},
      {"hidden", [](GroupOptions& o) { o.hidden = 32; }, "24", "32"},
      {"mode", [](GroupOptions& o) { o.mode = Mode::low_latency; }, "throughput", "low_latency"},
      {"row_dtype", [](GroupOptions& o) { o.row_dtype = DType::fp32; }, "bf16", "fp32"},
      {"placement",
       [](GroupOptions& o) {
         o.placement = Placement::blocks({5, 3, 4});
       },
       "4", "5"},
      {"levels", [](GroupOptions& o) { o.levels = ReductionLevels::none; }, "rank", "none"},
      {"order", [](GroupOptions& o) { o.order = ReductionOrder::highest_k; }, "rank_ascending", "highest_k"},
      {"overflow", [](GroupOptions& o) { o.overflow = OverflowPolicy::drop; }, "error", "drop"},
      {"gpu_handles", [](GroupOptions& o) { o.gpu_handles = GpuHandles::fabric; }, "fd", "fabric"},
      {"max_in_flight", [](GroupOptions& o) { o.max_in_flight = 5; }, "2", "5"},
      {"heap_bytes", [](GroupOptions& o) { o.heap_bytes += 4096; }, "1048576", "1052672"},
      {"heap_limit_bytes", [](GroupOptions& o) { o.heap_limit_bytes += 4096; }, "2097152", "2101248"},
  };
  EXPECT_EQ(run_ranks(3,
                      [&](Rank& rank, const Place& outer) {
                        for (const FieldCase& field : cases) {
                          const Place place = outer.at(field.field);
                          GroupOptions options = base;
                          if (rank.index() == 1) {
                            field.change(options);
                          }
                          expect_error(place, ErrorCode::config_mismatch, {field.field, field.ours, field.theirs},
                                       [&] { Group group(rank, options); });
                          rank.barrier();
                        }
                        // A different deadline is no mismatch, and nothing of the refused groups is left behind.
                        GroupOptions options = base;
                        options.timeout += std::chrono::seconds(rank.index());
                        Group group(rank, options);
                        outer.equal(3, group.size(), "group size");
                      }),
            "");
}

TEST(Mismatch, WhatAGroupSaysOfGpuHandlesGoesBeforeTheEnvironment) {
  const GroupOptions base = plain_scenario({.ranks = 2}, Mode::throughput).options;
  setenv("RAILYARD_GPU_HANDLES", "fabric", 1);  // which ranks on the host do without
  const std::string text = run_ranks(2, [&](Rank& rank, const Place& place) {
    GroupOptions options = base;
    if (rank.index() == 1) options.gpu_handles = GpuHandles::fd;
    expect_error(place, ErrorCode::config_mismatch, {"gpu_handles is fabric on rank 0 and fd on rank 1"},
                 [&] { Group group(rank, options); });
    rank.barrier();
    place.require(Group(rank, base).options().gpu_handles == GpuHandles::fabric, "the environment is not the default");
    options.gpu_handles = GpuHandles::fd;
    place.require(Group(rank, options).options().gpu_handles == GpuHandles::fd, "the group's own word did not count");
  });
  unsetenv("RAILYARD_GPU_HANDLES");
  EXPECT_EQ(text, "");
}

TEST(Mismatch, APlacementThatMeansEvenBlocksEqualsTheEmptyOne) {
  const GroupOptions base = plain_scenario({.ranks = 2, .experts_per_rank = 3}, Mode::throughput).options;
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = base;
                        if (rank.index() == 1) {
                          options.placement = Placement::contiguous(6, 2);
                        }
                        Group group(rank, options);
                        place.equal(3, group.local_experts(), "local experts");
                      }),
            "");
}

/// One rank calls `differently`; every rank gets RY-OPERATION-MISMATCH with `parts`, and the group is suspended.
void expect_mismatch(Mode mode, const std::vector<std::string>& parts,
                     const std::function<void(Group&, const PlainInput&, bool differently)>& call) {
  Scenario scenario = plain_scenario({}, mode);
  scenario.options.row_dtype = DType::fp32;
  const PlainRound plain = plain_round(scenario, 9, Layout::expert_major);
  EXPECT_EQ(run_ranks(3,
                      [&](Rank& rank, const Place& place) {
                        {
                          Group group(rank, scenario.options);
                          const PlainInput input(rank.device(), plain, rank.index());
                          expect_error(place, ErrorCode::operation_mismatch, parts,
                                       [&] { call(group, input, rank.index() == 1); });
                          expect_error(place, ErrorCode::suspended, {}, [&] { call(group, input, false); });
                        }
                        rank.barrier();
                        Group group(rank, scenario.options);
                        round_trip(place.at("new group"), group, scenario, plain, rank.device());
                      }),
            "");
}

class OperationMismatch : public ::testing::TestWithParam<Mode> {};

TEST_P(OperationMismatch, Layout) {
  expect_mismatch(GetParam(), {"expert_major", "expert_slots"}, [](Group& group, const PlainInput& input, bool other) {
    DispatchOptions options = input.options;
    options.layout = other ? Layout::expert_slots : Layout::expert_major;
    static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
  });
}

TEST_P(OperationMismatch, Alignment) {
  expect_mismatch(GetParam(), {"4", "8"}, [](Group& group, const PlainInput& input, bool other) {
    DispatchOptions options = input.options;
    options.alignment = other ? 8 : 4;
    static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
  });
}

TEST_P(OperationMismatch, Codec) {
  expect_mismatch(GetParam(), {"fp8_e4m3"}, [](Group& group, const PlainInput& input, bool other) {
    DispatchOptions options = input.options;
    options.codec = other ? Codec::fp8_e4m3_ue8m0 : Codec::fp8_e4m3;
    static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
  });
}

TEST_P(OperationMismatch, Weights) {
  expect_mismatch(GetParam(), {"weights"}, [](Group& group, const PlainInput& input, bool other) {
    DispatchOptions options = input.options;
    if (other) {
      options.weights = {};
    }
    static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
  });
}

TEST_P(OperationMismatch, TopK) {
  expect_mismatch(GetParam(), {"top_k"}, [](Group& group, const PlainInput& input, bool other) {
    DispatchOptions options = input.options;
    options.weights = {};
    const ConstTensorView ids(input.ids.view.data(), DType::int32, {6, other ? 2 : 3}, input.ids.view.device());
    static_cast<void>(group.dispatch(input.x.view, ids, options));
  });
}

TEST_P(OperationMismatch, RouteInsteadOfDispatch) {
  expect_mismatch(GetParam(), {"route", "dispatch"}, [](Group& group, const PlainInput& input, bool other) {
    if (other) {
      static_cast<void>(group.route(input.ids.view, {.layout = Layout::expert_major}));
    } else {
      static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options));
    }
  });
}

TEST_P(OperationMismatch, AnotherRoute) {
  expect_mismatch(GetParam(), {"route"}, [](Group& group, const PlainInput& input, bool other) {
    if (group.statistics().routes == 0) {
      const Route first = group.route(input.ids.view, {.layout = Layout::expert_major});
      const Route second = group.route(input.ids.view, {.layout = Layout::expert_major});
      static_cast<void>(group.dispatch(input.x.view, other ? second : first));
    } else {
      static_cast<void>(group.route(input.ids.view));  // the group is suspended by now
    }
  });
}

TEST_P(OperationMismatch, TypeOfTheExpertOutputs) {
  expect_mismatch(GetParam(), {"bf16", "fp16"}, [](Group& group, const PlainInput& input, bool other) {
    const Route route = group.route(input.ids.view, {.layout = Layout::expert_major});
    const Tensor y = group.allocate({route.capacity(), 24}, other ? DType::fp16 : DType::bf16);
    const Buffer out(y.device(), std::size_t{6 * 24 * 2});
    static_cast<void>(group.combine(y, route, TensorView(out.data(), DType::bf16, {6, 24}, y.device())));
  });
}

/// RAILYARD_DEBUG=1 while it lives.
class DebugLevel {
 public:
  DebugLevel() { setenv("RAILYARD_DEBUG", "1", 1); }
  ~DebugLevel() { unsetenv("RAILYARD_DEBUG"); }
  DebugLevel(const DebugLevel&) = delete;
  DebugLevel& operator=(const DebugLevel&) = delete;
};

TEST_P(OperationMismatch, CapacityAtTheDebugLevel) {
  const DebugLevel debug;
  expect_mismatch(GetParam(), {"40", "41"}, [](Group& group, const PlainInput& input, bool other) {
    DispatchOptions options = input.options;
    options.capacity = other ? 41 : 40;
    static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
  });
}

TEST_P(OperationMismatch, TailAtTheDebugLevel) {
  const DebugLevel debug;
  expect_mismatch(GetParam(), {"zero", "poison"}, [](Group& group, const PlainInput& input, bool other) {
    DispatchOptions options = input.options;
    options.tail = other ? Tail::poison : Tail::zero;
    static_cast<void>(group.dispatch(input.x.view, input.ids.view, options));
  });
}

class Refused : public ::testing::TestWithParam<Mode> {};

TEST_P(Refused, ConsumesNothingAndMayBeRepeatedWhileTheOthersWait) {
  const Scenario scenario = plain_scenario({}, GetParam());
  const PlainRound plain = plain_round(scenario, 11, Layout::expert_major);
  EXPECT_EQ(
      run_ranks(3,
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario.options);
                  for (int repeat = 0; repeat < 4; ++repeat) {
                    const bool refused = repeat % scenario.ranks() == rank.index();
                    const PlainInput input(rank.device(), plain, rank.index());
                    const std::size_t in_use = group.statistics().heap_bytes_in_use;
                    for (int attempt = 0; refused && attempt < 3; ++attempt) {
                      const ConstTensorView narrow(input.x.view.data(), DType::bf16, {6, 16}, rank.device());
                      expect_error(place, ErrorCode::invalid_argument, {"16", "24"},
                                   [&] { static_cast<void>(group.dispatch(narrow, input.ids.view, input.options)); });
                      expect_error(place, ErrorCode::invalid_argument, {"-1"}, [&] {
                        DispatchOptions options = input.options;
                        options.capacity = -1;
                        static_cast<void>(group.dispatch_send(input.x.view, input.ids.view, options));
                      });
                      expect_error(place, ErrorCode::invalid_argument, {"0"},
                                   [&] { static_cast<void>(group.route(input.ids.view, {.alignment = 0})); });
                      place.equal(in_use, group.statistics().heap_bytes_in_use, "bytes in use after a refused call");
                    }
                    const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options);
                    check_plain(place, scenario, plain, rank.index(), got);
                    if (refused) {
                      const Buffer out(rank.device(), std::size_t{5 * 24 * 2});
                      const TensorView short_out(out.data(), DType::bf16, {5, 24}, rank.device());
                      expect_error(place, ErrorCode::invalid_argument, {"5", "6"},
                                   [&] { static_cast<void>(group.combine(got.rows, got.route, short_out)); });
                    }
                    combine_plain(place, group, scenario, plain, got.route);
                  }
                  place.equal(std::uint64_t{4}, group.statistics().dispatches, "dispatches counted");
                  place.equal(std::uint64_t{4}, group.statistics().combines, "combines counted");
                }),
      "");
}

INSTANTIATE_TEST_SUITE_P(Modes, OperationMismatch, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });
INSTANTIATE_TEST_SUITE_P(Modes, Refused, ::testing::Values(Mode::throughput, Mode::low_latency),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace railyard::multi_rank
