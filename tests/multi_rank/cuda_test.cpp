// SPDX-License-Identifier: Apache-2.0
// What only ranks on GPUs have: streams, graphs, deadlines that a device keeps, pointers of the wrong kind. Virtual
// ranks where there are fewer GPUs than ranks.
#include "multi_rank/cuda_fixture.hpp"
#include "multi_rank/warnings.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

void copy_into(const DeviceRows& to, const std::vector<std::byte>& content) {
  to.buffer.upload(content.data(), content.size());
}

TEST_F(Cuda, ReplaysOfAGraphFollowIdsAndTokenCountsInMemory) {
  constexpr int kReplays = 200;
  std::vector<PlainRound> made = rounds(10, 100);
  const PlainRound last = made[0];
  for (std::size_t i = 0; i < made.size(); ++i) made[i] = with_tokens(std::move(made[i]), 7 + i);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const auto r = static_cast<std::size_t>(rank.index());
                        const Stream stream = backend().stream(rank.device());
                        const std::int64_t hidden = scenario_.options.hidden;
                        Group group(rank, scenario_.options);
                        PlainInput input(rank.device(), made[0], rank.index());
                        Buffer word(rank.device(), sizeof(std::int32_t));
                        input.options.num_tokens = static_cast<const std::int32_t*>(word.data());
                        const Tensor y = group.allocate({made[0].round.granted[r], hidden}, DType::bf16, stream);
                        const Buffer out(rank.device(), static_cast<std::size_t>(made[0].round.rows[r] * hidden) * 2);
                        const TensorView view(out.data(), DType::bf16, {made[0].round.rows[r], hidden}, rank.device());
                        const std::size_t before = group.statistics().heap_bytes_in_use;
                        check(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal));
                        std::optional<Dispatched> got =
                            group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        const Combined combined = group.combine(y, got->route, view, {}, stream);
                        cudaGraph_t graph = nullptr;
                        check(cudaStreamEndCapture(native(stream), &graph));
                        cudaGraphExec_t replay = nullptr;
                        check(cudaGraphInstantiate(&replay, graph, 0));
                        check(cudaGraphDestroy(graph));
                        expect_error(place, ErrorCode::unsupported, {"captured"}, [&] { got->event.synchronize(); });
                        for (int i = 0; i < kReplays; ++i) {
                          const PlainRound& plain = made[static_cast<std::size_t>(i) % made.size()];
                          const PlainInput fresh(rank.device(), plain, rank.index());
                          copy_into(input.x, fresh.x.buffer.download());
                          copy_into(input.ids, fresh.ids.buffer.download());
                          const std::vector<std::byte> weights = fresh.weights.download();
                          input.weights.upload(weights.data(), weights.size());
                          const auto tokens = static_cast<std::int32_t>(plain.round.tokens[r]);
                          word.upload(&tokens, sizeof(tokens));
                          upload(y, plain.round.combines.front().y[r].packed);
                          check(cudaGraphLaunch(replay, native(stream)));
                          check(cudaStreamSynchronize(native(stream)));
                          const Place here = place.at("replay " + std::to_string(i));
                          check_plain(here, scenario_, plain, rank.index(), *got);
                          compare_status(here, plain.expected.dispatched.front().status, combined.status());
                          const std::vector<std::byte> all = out.download();
                          const std::vector<std::byte>& wanted = plain.expected.combined.front()[r];
                          here.require(std::equal(wanted.begin(), wanted.end(), all.begin()),
                                       "combine differs from the reference");
                        }
                        // The graph owns its leases: they stay while it lives, and come back when it ends.
                        got.reset();
                        place.require(group.statistics().heap_bytes_in_use > before, "the graph let go of its leases");
                        check(cudaGraphExecDestroy(replay));
                        rank.barrier();
                        bool returned = false;
                        for (int i = 0; i < 100 && !returned; ++i) {
                          round_trip(place.at("after the graph"), group, scenario_, last, rank.device());
                          returned = group.statistics().heap_bytes_in_use == before;
                          bool all = returned;
                          std::vector<char> flags(static_cast<std::size_t>(rank.world_size()));
                          const char mine = returned ? 1 : 0;
                          rank.all_gather(&mine, flags.data(), 1);
                          for (const char flag : flags) all = all && flag != 0;
                          returned = all;
                        }
                        place.require(returned, "bytes of a destroyed graph did not return");
                      }),
            "");
}

TEST_F(Cuda, OutputsAreReadOnAnotherStreamAfterTheirRelease) {
  const std::vector<PlainRound> made = rounds(12, 300);
  // Room for little more than one dispatch, so that each takes memory that another stream may still read.
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        const Stream reader = new_stream();
                        GroupOptions options = scenario_.options;
                        options.heap_bytes = std::size_t{1} << 17;
                        Group group(rank, options);
                        std::deque<Buffer> copies;
                        std::vector<std::vector<std::byte>> expected;
                        for (const PlainRound& plain : made) {
                          const PlainInput input(rank.device(), plain, rank.index());
                          Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          got.check();
                          const auto bytes = static_cast<std::size_t>(got.route.num_rows() * got.rows.stride(0)) * 2;
                          std::vector<std::byte> content(bytes);
                          backend().copy_to_host(content.data(), got.rows.data(), bytes);
                          expected.push_back(std::move(content));
                          copies.emplace_back(rank.device(), bytes);
                          if (bytes == 0) continue;
                          check(cudaStreamWaitEvent(native(reader), static_cast<cudaEvent_t>(got.event.native()), 0));
                          delay(reader, std::chrono::milliseconds(1));
                          got.rows.lease().use_on(reader);
                          check(cudaMemcpyAsync(copies.back().data(), got.rows.data(), bytes, cudaMemcpyDeviceToDevice,
                                                native(reader)));
                        }
                        check(cudaStreamSynchronize(native(reader)));
                        for (std::size_t i = 0; i < copies.size(); ++i) {
                          place.require(copies[i].download() == expected[i],
                                        "dispatch " + std::to_string(i) + " was overwritten while it was read");
                        }
                      }),
            "");
}

TEST_F(Cuda, InputsOfCombineAreRewrittenInStreamOrder) {
  const std::vector<PlainRound> made = rounds(8, 400);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const auto r = static_cast<std::size_t>(rank.index());
                        const Stream stream = backend().stream(rank.device());
                        const std::int64_t hidden = scenario_.options.hidden;
                        Group group(rank, scenario_.options);
                        for (std::size_t i = 0; i < 64; ++i) {
                          const PlainRound& plain = made[i % made.size()];
                          const PlainInput input(rank.device(), plain, rank.index());
                          const Route route = group.route(input.ids.view, {}, stream);
                          const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
                          upload(y, plain.round.combines.front().y[r].packed);
                          const Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
                          const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
                          // One rank is late by a millisecond, another one each time.
                          if (i % 3 == r) delay(stream, std::chrono::milliseconds(1));
                          group.combine(y, route, view, {}, stream);
                          check(cudaMemsetAsync(y.data(), 0xFF, static_cast<std::size_t>(y.size(0) * y.stride(0)) * 2,
                                                native(stream)));
                          place.require(out.download() == plain.expected.combined.front()[r],
                                        "combine " + std::to_string(i) + " read rows that were written after it");
                        }
                      }),
            "");
}

TEST_F(Cuda, TwoGroupsOnTwoStreamsWithLateRanks) {
  const std::vector<PlainRound> made = rounds(9, 500);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const Stream streams[2] = {backend().stream(rank.device()), new_stream()};
                        GroupOptions options = scenario_.options;
                        options.num_sms = 4;
                        Group groups[2] = {Group(rank, options), Group(rank, options)};
                        Random random(static_cast<std::uint64_t>(rank.index()) + 1);
                        const auto r = static_cast<std::size_t>(rank.index());
                        const std::int64_t hidden = scenario_.options.hidden;
                        std::vector<Tensor> outputs[2];  // of the experts, by group and round
                        for (std::size_t g = 0; g < 2; ++g) {
                          for (const PlainRound& plain : made) {
                            const std::int64_t rows = plain.round.granted[r];
                            outputs[g].push_back(groups[g].allocate({rows, hidden}, DType::bf16, streams[0]));
                            upload(outputs[g].back(), plain.round.combines.front().y[r].packed);
                          }
                        }
                        struct Flying {
                          const PlainRound* plain;
                          PlainInput input;
                          Dispatched got;
                          Buffer out;
                          Combined combined;
                        };
                        std::deque<Flying> flying;
                        const auto land = [&](const Place& here) {
                          const Flying& first = flying.front();
                          first.got.check();
                          check_plain(here, scenario_, *first.plain, rank.index(), first.got);
                          first.combined.check();
                          here.require(first.out.download() == first.plain->expected.combined.front()[r],
                                       "combine differs from the reference");
                          flying.pop_front();
                        };
                        for (int i = 0; i < 100; ++i) {
                          const PlainRound& plain = made[static_cast<std::size_t>(i) % made.size()];
                          const auto which = static_cast<std::size_t>(i % 2);
                          if (random.chance(20)) delay(streams[which], std::chrono::microseconds(random.below(1000)));
                          PlainInput input(rank.device(), plain, rank.index());
                          // Sometimes the other stream: operations of one group keep their order all the same.
                          const Stream stream = streams[random.chance(30) ? 1 - which : which];
                          Dispatched got = groups[which].dispatch(input.x.view, input.ids.view, input.options, stream);
                          Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
                          const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
                          Combined combined = groups[which].combine(
                              outputs[which][static_cast<std::size_t>(i) % made.size()], got.route, view, {},
                              streams[random.chance(30) ? 1 - which : which]);
                          flying.push_back({&plain, std::move(input), std::move(got), std::move(out), combined});
                          if (flying.size() > 3) land(place.at("operation " + std::to_string(i)));
                        }
                        while (!flying.empty()) land(place.at("the last operations"));
                      }),
            "");
}

/// What one rank needs to repeat a round without the host looking at it.
struct RepeatedRound {
  PlainInput input;
  Tensor y;
  Sample rows;
  Sample ids;
  Buffer out;
  Sample sum;
};

// RAILYARD_TEST_OPERATIONS: how many, each a dispatch or a combine; the host waits for none of them. Three ranks, also
// where they share a GPU.
TEST_F(Cuda, ManyOperationsWithRandomDelays) {
  scenario_ = plain_scenario({.ranks = 3}, Mode::throughput);
  const char* const asked = std::getenv("RAILYARD_TEST_OPERATIONS");
  const int operations = asked ? std::stoi(asked) : 4000;
  constexpr int kAtOnce = 1000;  // submitted between looks at the result
  const std::vector<PlainRound> made = rounds(7, 1100);
  const auto body = [&](Rank& rank, const Place& place) {
    const auto r = static_cast<std::size_t>(rank.index());
    const Stream stream = backend().stream(rank.device());
    const std::int64_t hidden = scenario_.options.hidden;
    Group group(rank, scenario_.options);
    std::deque<RepeatedRound> repeated;
    for (const PlainRound& plain : made) {
      PlainInput input(rank.device(), plain, rank.index());
      const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
      check_plain(place, scenario_, plain, rank.index(), got);
      const std::int64_t rows = got.route.num_rows();
      const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
      upload(y, plain.round.combines.front().y[r].packed);
      Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
      const TensorView view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
      group.combine(y, got.route, view, {}, stream);
      place.require(out.download() == plain.expected.combined.front()[r], "combine differs from the reference");
      const ConstTensorView ids = got.route.expert_ids();
      repeated.push_back(
          {std::move(input), y,
           Sample(rank.device(), ConstTensorView(got.rows.data(), DType::bf16, {rows, hidden}, rank.device())),
           Sample(rank.device(), ConstTensorView(ids.data(), ids.dtype(), {rows, ids.size(1)}, rank.device())),
           std::move(out), Sample(rank.device(), view)});
    }
    const Buffer differences(rank.device(), sizeof(std::uint64_t), 0, std::byte{0});
    Random random(static_cast<std::uint64_t>(rank.index()) + 17);
    Random choice(5);  // equal on all ranks
    for (int done = 0; done < operations;) {
      for (int i = 0; i < kAtOnce && done < operations; i += 2, done += 2) {
        const RepeatedRound& round = repeated[static_cast<std::size_t>(choice.below(7))];
        if (random.chance(5)) delay(stream, std::chrono::microseconds(random.below(300)));
        const Dispatched got = group.dispatch(round.input.x.view, round.input.ids.view, round.input.options, stream);
        round.rows.compare(got.rows, differences, stream);
        round.ids.compare(got.route.expert_ids(), differences, stream);
        if (random.chance(5)) delay(stream, std::chrono::microseconds(random.below(300)));
        const TensorView out(round.out.data(), DType::bf16,
                             {static_cast<std::int64_t>(round.out.bytes()) / 2 / hidden, hidden}, rank.device());
        group.combine(round.y, got.route, out, {}, stream);
        round.sum.compare(out, differences, stream);
        // By a kernel: a copy engine would take a memset behind the other ranks' copies to the host, which wait for
        // this rank where ranks share a GPU.
        device_tests::fill(static_cast<std::byte*>(out.data()), 0xFF, round.out.bytes(), native(stream));
      }
      std::uint64_t bytes = 0;
      backend().copy_to_host(&bytes, differences.data(), sizeof(bytes));
      if (bytes != 0) {
        throw std::runtime_error(std::to_string(bytes) + " bytes differ after " + std::to_string(done) + " operations");
      }
    }
  };
  EXPECT_EQ(run_ranks(scenario_.ranks(), body), "");
}

TEST_F(Cuda, ARankThatNeverCallsIsNamedAndANewGroupWorks) {
  const std::vector<PlainRound> made = rounds(2, 600);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        {
                          GroupOptions options = scenario_.options;
                          options.timeout = std::chrono::milliseconds(200);
                          Group group(rank, options);
                          const PlainInput input(rank.device(), made[0], rank.index());
                          if (rank.index() != 1) {
                            const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                            expect_error(place, ErrorCode::timeout, {"rank 1", "dispatch", "epoch 1", "exchange"},
                                         [&] { got.check(); });
                            expect_error(place, ErrorCode::suspended, {"rank 1"}, [&] {
                              static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options, stream));
                            });
                          }
                          rank.barrier();
                        }
                        Group group(rank, scenario_.options);
                        round_trip(place.at("a new group"), group, scenario_, made[1], rank.device());
                      }),
            "");
}

TEST_F(Cuda, ADeadlineNamesEveryoneWhoIsMissing) {
  scenario_ = plain_scenario({.ranks = 5}, Mode::throughput);
  const std::vector<PlainRound> made = rounds(1, 650);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        round_trip(place, group, scenario_, made[0], rank.device());
                        group.set_timeout(std::chrono::seconds(1));
                        const PlainInput input(rank.device(), made[0], rank.index());
                        rank.barrier();
                        if (rank.index() % 2 == 0) {
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          expect_error(
                              place, ErrorCode::timeout,
                              {"dispatch", "epoch 2", "exchange", "rank 1 ", "rank 3 ", "(expected 0x2, seen 0x0)"},
                              [&] { got.check(); });
                        }
                        rank.barrier();
                      }),
            "");
}

TEST_F(Cuda, ATenthOfTheDeadlineWarnsAndNamesTheLateRank) {
  const std::vector<PlainRound> made = rounds(1, 680);
  Warnings warnings;
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        round_trip(place, group, scenario_, made[0], rank.device());
                        group.set_timeout(std::chrono::seconds(2));
                        const PlainInput input(rank.device(), made[0], rank.index());
                        rank.barrier();
                        if (rank.index() == 2) std::this_thread::sleep_for(std::chrono::milliseconds(600));
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        check_plain(place, scenario_, made[0], rank.index(), got);
                        const std::vector<std::string> lines = warnings.of(rank.index());
                        place.equal(std::size_t{rank.index() == 2 ? 0U : 1U}, lines.size(), "warnings");
                        for (const std::string& line : lines) {
                          place.require(line.find("dispatch, stage exchange, epoch 2: waiting since ") != line.npos,
                                        line);
                          place.require(line.ends_with(" ms for rank 2 (expected 0x2, seen 0x0)"), line);
                        }
                      },
                      {.log = warnings.callback()}),
            "");
}

TEST_F(Cuda, AbortEndsARunningWait) {
  const std::vector<PlainRound> made = rounds(1, 700);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        const PlainInput input(rank.device(), made[0], rank.index());
                        if (rank.index() != 1) {
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          std::thread aborting([&] {
                            std::this_thread::sleep_for(std::chrono::milliseconds(50));
                            group.abort("the test says so");
                          });
                          expect_error(place, ErrorCode::aborted, {"rank 1", "the test says so"}, [&] { got.check(); });
                          aborting.join();
                        }
                        rank.barrier();
                      }),
            "");
}

TEST_F(Cuda, DifferentOperationsAreFound) {
  const std::vector<PlainRound> made = rounds(1, 800);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        const PlainInput input(rank.device(), made[0], rank.index());
                        DispatchOptions options = input.options;
                        if (rank.index() == 2) options.weights = {};
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, options, stream);
                        try {
                          got.check();
                          place.fail("dispatches with and without weights agreed");
                        } catch (const Error& error) {
                          place.require(
                              error.code() == ErrorCode::operation_mismatch || error.code() == ErrorCode::timeout,
                              error.what());
                        }
                        rank.barrier();
                      },
                      {.timeout = std::chrono::seconds(2)}),
            "");
}

TEST_F(Cuda, WhatGpusCannotDoIsRefusedByName) {
  const std::vector<PlainRound> made = rounds(1, 900);
  EXPECT_EQ(
      run_ranks(scenario_.ranks(),
                [&](Rank& rank, const Place& place) {
                  const Stream stream = backend().stream(rank.device());
                  GroupOptions refused = scenario_.options;
                  refused.mode = Mode::low_latency;
                  expect_error(place, ErrorCode::unsupported, {"low_latency"}, [&] { Group(rank, refused); });
                  Group group(rank, scenario_.options);
                  const PlainInput input(rank.device(), made[0], rank.index());
                  const auto dispatch = [&](ConstTensorView x, const DispatchOptions& options, Stream on) {
                    static_cast<void>(group.dispatch(x, input.ids.view, options, on));
                  };
                  DispatchOptions options = input.options;
                  options.layout = Layout::expert_major;
                  expect_error(place, ErrorCode::unsupported, {"expert_major"},
                               [&] { dispatch(input.x.view, options, stream); });
                  options = input.options;
                  options.codec = Codec::fp16;
                  expect_error(place, ErrorCode::unsupported, {"fp16", "bf16"},
                               [&] { dispatch(input.x.view, options, stream); });
                  const std::vector<std::byte> host(input.x.buffer.bytes());
                  expect_error(place, ErrorCode::invalid_argument, {"x is on host"}, [&] {
                    dispatch(ConstTensorView(host.data(), DType::bf16, {6, 24}), input.options, stream);
                  });
                  expect_error(place, ErrorCode::invalid_argument, {"x is not in device memory"}, [&] {
                    dispatch(ConstTensorView(host.data(), DType::bf16, {6, 24}, rank.device()), input.options, stream);
                  });
                  int devices = 0;
                  check(cudaGetDeviceCount(&devices));
                  const int here = rank.index() % devices;  // ranks take the devices in turn
                  const bool shared = here + devices < rank.world_size() || rank.index() >= devices;
                  if (shared && backend().name() == "cuda-threads") {
                    expect_error(place, ErrorCode::invalid_argument, {"default stream", "cudaStreamNonBlocking"},
                                 [&] { dispatch(input.x.view, input.options, Stream()); });
                  }
                  // Nothing of this was sent: the group goes on.
                  round_trip(place.at("afterwards"), group, scenario_, made[0], rank.device());
                }),
      "");
}

TEST_F(Cuda, MoreSmsThanTheDeviceHasAreRefused) {
  rounds(0, 0);
  const std::string text = run_ranks(scenario_.ranks(), [&](Rank& rank, const Place&) {
    GroupOptions options = scenario_.options;
    options.num_sms = 64;
    options.timeout = std::chrono::seconds(5);
    std::vector<Group> groups;
    for (int i = 0; i < 4; ++i) groups.emplace_back(rank, options);
  });
  EXPECT_NE(text.find("SMs of device"), std::string::npos) << text;
  EXPECT_NE(text.find("set num_sms lower"), std::string::npos) << text;
}

TEST_F(Cuda, HeapsGrow) {
  const std::vector<PlainRound> made = rounds(2, 1000);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = scenario_.options;
                        options.heap_bytes = std::size_t{1} << 20;
                        options.heap_limit_bytes = std::size_t{32} << 20;
                        Group group(rank, options);
                        round_trip(place, group, scenario_, made[0], rank.device());
                        group.grow_heap(std::size_t{16} << 20);
                        const Stream stream = backend().stream(rank.device());
                        const Tensor block = group.allocate({std::int64_t{12} << 20}, DType::uint8, stream);
                        fill(block, std::byte{0x5A});
                        round_trip(place, group, scenario_, made[1], rank.device());
                      }),
            "");
}

}  // namespace
}  // namespace railyard::multi_rank
