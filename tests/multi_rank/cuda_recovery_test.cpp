// SPDX-License-Identifier: Apache-2.0
// Recoveries as only ranks on GPUs have them: graphs captured before, kernels that come too late, deadlines that the
// device keeps. recovery_test runs on GPUs too.
#include "device/cuda_ranks.hpp"
#include "multi_rank/backend.hpp"
#include "multi_rank/plain.hpp"
#include "multi_rank/warnings.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace railyard::multi_rank {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;
using Ranks = std::vector<int>;

constexpr int kRanks = 4;
constexpr auto kRollCall = 1s;  // in which whoever goes on must come

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }

/// A dispatch, captured.
class DispatchGraph {
 public:
  DispatchGraph(Group& group, const PlainInput& input, Stream stream) : stream_(native(stream)) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    got_ = group.dispatch(input.x.view, input.ids.view, input.options, stream);
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_, &graph));
    check(cudaGraphInstantiate(&replay_, graph, 0));
    check(cudaGraphDestroy(graph));
  }
  ~DispatchGraph() { static_cast<void>(cudaGraphExecDestroy(replay_)); }
  DispatchGraph(const DispatchGraph&) = delete;
  DispatchGraph& operator=(const DispatchGraph&) = delete;

  void launch() const {
    check(cudaGraphLaunch(replay_, stream_));
    check(cudaStreamSynchronize(stream_));
  }
  [[nodiscard]] const Dispatched& got() const { return got_; }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t replay_ = nullptr;
  Dispatched got_;
};

class CudaRecovery : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("RAILYARD_TEST_BACKEND", "cuda-threads", 0); }

  CudaRecovery() { scenario_.options.heap_bytes = std::size_t{8} << 20; }

  [[nodiscard]] PlainRound without(const Ranks& masked) const { return without_ranks(scenario_, plain_, masked); }
  void round(const Place& place, Group& group, const Rank& rank, const PlainRound& plain) const {
    round_trip(place, group, scenario_, plain, rank.device());
  }
  static void go_on(const Place& place, Group& group, const Ranks& masked) {
    group.set_timeout(kRollCall);
    const Recovery recovery = group.recover();
    group.set_timeout(case_deadline());
    place.require(recovery.masked == masked, "other ranks are masked than were lost");
    place.require(!group.is_suspended(), "suspended after a recovery");
  }

  Scenario scenario_ = plain_scenario({.ranks = kRanks}, Mode::throughput);
  PlainRound plain_ = plain_round(scenario_, 5, Layout::rank_major);
};

TEST_F(CudaRecovery, OutputsAreKeptAndGraphsOfBeforeAreRefused) {
  const PlainRound left = without({2});
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        const PlainInput input(rank.device(), plain_, rank.index());
                        const Dispatched kept = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        kept.check();
                        const DispatchGraph before(group, input, stream);
                        before.launch();
                        check_plain(place.at("replayed"), scenario_, plain_, rank.index(), before.got());
                        rank.barrier();
                        if (rank.index() == 2) return;
                        go_on(place, group, {2});
                        place.equal(std::uint64_t{2}, group.last_recovery().dispatches, "dispatches with the replay");
                        check_plain(place.at("kept"), scenario_, plain_, rank.index(), kept);
                        expect_error(place, ErrorCode::invalid_argument, {"before the group recovered"}, [&] {
                          static_cast<void>(group.dispatch(input.x.view, kept.route, PayloadOptions{}, stream));
                        });
                        round(place.at("without 2"), group, rank, left);
                        const DispatchGraph after(group, input, stream);
                        for (int repeat = 0; repeat < 20; ++repeat) {
                          after.launch();
                          check_plain(place.at("captured after"), scenario_, left, rank.index(), after.got());
                        }
                        fill(before.got().rows, std::byte{0x5A});
                        const std::vector<std::byte> poisoned = download(before.got().rows);
                        before.launch();
                        place.require(download(before.got().rows) == poisoned, "a graph of before wrote");
                        expect_error(place, ErrorCode::suspended, {"captured before", "capture it anew"},
                                     [&] { static_cast<void>(group.allocate({8}, DType::bf16)); });
                        go_on(place, group, {2});
                        round(place.at("again"), group, rank, left);
                      }),
            "");
}

TEST_F(CudaRecovery, TheLatestRouteOfBeforeIsRefused) {
  const PlainRound left = without({2});
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        const PlainInput input(rank.device(), plain_, rank.index());
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        got.check();
                        const std::int64_t tokens = plain_.round.rows[static_cast<std::size_t>(rank.index())];
                        const std::int64_t hidden = scenario_.options.hidden;
                        const Buffer out(rank.device(), static_cast<std::size_t>(tokens * hidden) * 2);
                        const TensorView view(out.data(), DType::bf16, {tokens, hidden}, rank.device());
                        rank.barrier();
                        if (rank.index() == 2) return;
                        go_on(place, group, {2});
                        expect_error(place, ErrorCode::invalid_argument, {"before the group recovered"},
                                     [&] { static_cast<void>(group.combine(got.rows, got.route, view, {}, stream)); });
                        round(place.at("without 2"), group, rank, left);
                      }),
            "");
}

// Calls return before a kernel has run: whoever was ahead of the others is told what was lost, and does it again.
TEST_F(CudaRecovery, PolicyMaskTellsWhatWasLost) {
  scenario_.options.on_timeout = TimeoutPolicy::mask;
  const PlainRound left = without({3});
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        round(place, group, rank, plain_);
                        group.set_timeout(kRollCall);
                        const PlainInput input(rank.device(), plain_, rank.index());
                        const auto dispatch = [&] {
                          static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options, stream));
                        };
                        rank.barrier();
                        if (rank.index() == 3) return;
                        if (rank.index() == 0) dispatch();  // and does not look what comes of it
                        while (!group.is_suspended()) std::this_thread::sleep_for(10ms);
                        if (rank.index() == 0) {
                          expect_error(place, ErrorCode::operation_mismatch, {"were lost", "1 dispatches"}, dispatch);
                        }
                        round(place.at("again"), group, rank, left);
                        place.require(group.masked_ranks() == Ranks{3}, "rank 3 is not masked");
                        place.equal(std::uint64_t{1}, group.last_recovery().dispatches, "dispatches of before");
                      }),
            "");
}

TEST_F(CudaRecovery, AKernelThatComesTooLateHarmsNobodyAndItsRankJoinsAgain) {
  const PlainRound left = without({1});
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        round(place, group, rank, plain_);
                        const PlainInput input(rank.device(), plain_, rank.index());
                        rank.barrier();
                        if (rank.index() == 1) {
                          device_tests::busy(std::uint64_t{2'500'000'000}, native(stream));
                          const Dispatched late = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          expect_error(place, ErrorCode::aborted, {"calls the group's ranks"}, [&] { late.check(); });
                          expect_error(place, ErrorCode::masked, {"go on without rank 1"},
                                       [&] { static_cast<void>(group.recover()); });
                          const Recovery back = group.rejoin();
                          place.require(back.masked.empty(), "somebody is masked");
                        } else {
                          group.set_timeout(200ms);
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          const Error error = [&] {
                            try {
                              got.check();
                            } catch (const Error& caught) {
                              return caught;
                            }
                            return Error(ErrorCode::ok, "nothing was noticed");
                          }();
                          const std::string text = error.what();
                          place.require(
                              text.find("rank 1") != text.npos || text.find("calls the group's ranks") != text.npos,
                              text);
                          go_on(place, group, {1});
                          // By their own clocks ranks would stop after different numbers of rounds.
                          for (int repeat = 0; repeat < 40; ++repeat) {
                            round(place.at("without 1"), group, rank, left);
                            std::this_thread::sleep_for(50ms);
                          }
                          for (int attempt = 0; !group.masked_ranks().empty() && attempt < 500; ++attempt) {
                            std::this_thread::sleep_for(20ms);
                            try {
                              static_cast<void>(group.recover());
                            } catch (const Error& caught) {  // another's attempt
                              place.require(caught.code() == ErrorCode::aborted, caught.what());
                            }
                          }
                        }
                        round(place.at("all again"), group, rank, plain_);
                      }),
            "");
}

TEST_F(CudaRecovery, ADeadlineSetAfterTheCaptureEndsAReplay) {
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, scenario_.options);
                        const PlainInput input(rank.device(), plain_, rank.index());
                        const DispatchGraph graph(group, input, stream);
                        graph.launch();
                        check_plain(place, scenario_, plain_, rank.index(), graph.got());
                        group.set_timeout(300ms);
                        rank.barrier();
                        if (rank.index() != 3) {
                          const Clock::time_point start = Clock::now();
                          graph.launch();
                          place.require(Clock::now() - start < 2s, "the replay waited longer than the new deadline");
                          place.require(group.is_suspended(), "nothing was noticed");
                          expect_error(place, ErrorCode::suspended, {"rank 3", "deadline"},
                                       [&] { static_cast<void>(group.allocate({8}, DType::bf16)); });
                        }
                        rank.barrier();
                        go_on(place, group, {});
                        round(place.at("after"), group, rank, plain_);
                      }),
            "");
}

TEST_F(CudaRecovery, PolicyWaitGoesOnPastDeadlines) {
  scenario_.options.on_timeout = TimeoutPolicy::wait;
  Warnings warnings;
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario_.options);
                        group.set_timeout(100ms);
                        if (rank.index() == 2) std::this_thread::sleep_for(550ms);
                        round(place, group, rank, plain_);
                        if (rank.index() == 0) {
                          const std::vector<std::string> lines = warnings.of(0);
                          const auto named = std::ranges::count_if(
                              lines, [](const std::string& line) { return line.find("rank 2 (") != line.npos; });
                          place.require(named >= 3, std::to_string(named) + " warnings name rank 2");
                        }
                        // Whoever recovers ends the others' waits.
                        rank.barrier();
                        if (rank.index() != 2) {
                          const PlainInput input(rank.device(), plain_, rank.index());
                          const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options,
                                                                backend().stream(rank.device()));
                          expect_error(place, ErrorCode::aborted, {"calls the group's ranks"}, [&] { got.check(); });
                        } else {
                          std::this_thread::sleep_for(300ms);
                        }
                        go_on(place, group, {});
                        round(place.at("after"), group, rank, plain_);
                      },
                      {.log = warnings.callback()}),
            "");
}

}  // namespace
}  // namespace railyard::multi_rank
