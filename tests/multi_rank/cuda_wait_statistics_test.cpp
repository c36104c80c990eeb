// SPDX-License-Identifier: Apache-2.0
// Whom the kernels of groups on GPUs waited for.
#include "multi_rank/cuda_times.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace railyard::multi_rank {
namespace {

WaitTotals difference(const WaitTotals& after, const WaitTotals& before) {
  return {.count = after.count - before.count, .total = after.total - before.total, .longest = after.longest};
}

StageWaits difference(const StageWaits& after, const StageWaits& before) {
  return {.slot = difference(after.slot, before.slot),
          .exchange = difference(after.exchange, before.exchange),
          .arrival = difference(after.arrival, before.arrival),
          .readers = difference(after.readers, before.readers)};
}

/// What was waited between two readings; `longest` is the latter's.
WaitStatistics difference(const WaitStatistics& after, const WaitStatistics& before) {
  WaitStatistics since{.all = difference(after.all, before.all), .peers = {}};
  for (std::size_t peer = 0; peer < after.peers.size(); ++peer) {
    since.peers.push_back(difference(after.peers[peer], before.peers[peer]));
  }
  return since;
}

void expect_nothing(const Place& place, const StageWaits& waits, const std::string& what) {
  for (const WaitTotals* totals : {&waits.slot, &waits.exchange, &waits.arrival, &waits.readers}) {
    place.require(totals->count == 0 && totals->total == 0ns, what);
  }
}

/// One operation that everyone waited kDelay for kLate in.
void expect_late(const Place& place, const WaitStatistics& waits, int rank) {
  const std::string seen = text_of(waits);
  const auto require = [&](bool condition, const std::string& what) { place.require(condition, what + seen); };
  expect_nothing(place, waits.peers[static_cast<std::size_t>(rank)], "a rank waited for itself" + seen);
  require(waits.all.slot.count == 0, "a mailbox slot was waited for");
  std::chrono::nanoseconds longest{0};
  for (int peer = 0; peer < kRanks; ++peer) {
    const StageWaits& of_peer = waits.peers[static_cast<std::size_t>(peer)];
    const std::string name = "rank " + std::to_string(peer);
    longest = std::max(longest, of_peer.exchange.total);
    if (peer == kLate && rank != kLate) {
      require(of_peer.exchange.count == 1, name + " was late once");
      require(of_peer.exchange.total >= kAtLeast, name + " was late, and this does not show");
      require(of_peer.exchange.total <= kAtMost, name + " was not as late as that");
    } else {
      require(of_peer.exchange.count <= 1, name + " was waited for at most once");
      require(of_peer.exchange.total < kOnTime, name + " was on time");
    }
    require(of_peer.arrival.total < kOnTime && of_peer.readers.total < kOnTime,
            name + ": its transfer is charged with a delay that came before it");
  }
  require(waits.all.exchange.total == longest, "waits of one operation begin together: all is the longest of them");
  require(waits.all.exchange.count <= 1, "one operation has one wait");
}

TEST_F(CudaTimes, ALateRankIsChargedAtTheOthersAndNobodyElseIs) {
  if (!ranks_run_together()) GTEST_SKIP() << "needs a GPU for each process";
  const PlainRound plain = plain_round(scenario_, 1200, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Start start(rank, scenario_, plain);
                        Group group(rank, Start::options_of(scenario_));
                        expect_error(place, ErrorCode::unsupported, {"set_wait_statistics(true)"},
                                     [&] { static_cast<void>(group.wait_statistics()); });
                        group.set_wait_statistics(true);
                        const PlainInput input(rank.device(), plain, rank.index());
                        const WaitStatistics none = group.wait_statistics();
                        place.equal(none.peers.size(), std::size_t{kRanks}, "peers");
                        expect_nothing(place, none.all, "a new group has waited" + text_of(none));
                        start(stream);
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        check_plain(place, scenario_, plain, rank.index(), got);
                        const WaitStatistics dispatched = group.wait_statistics();
                        expect_late(place.at("dispatch"), dispatched, rank.index());
                        place.require(dispatched.all.readers.count == 0, "a dispatch has no readers");
                        place.require(dispatched.all.exchange.longest == dispatched.all.exchange.total,
                                      "one wait is the longest" + text_of(dispatched));

                        const CombineBuffers combine(group, rank, plain, scenario_.options.hidden, stream);
                        start(stream);
                        group.combine(combine.y, got.route, combine.view, {}, stream).event.synchronize();
                        const WaitStatistics both = group.wait_statistics();
                        expect_late(place.at("combine"), difference(both, dispatched), rank.index());
                        place.require(both.all.arrival.count == dispatched.all.arrival.count,
                                      "a combine waits for no arrivals" + text_of(both));

                        start(stream);
                        group.dispatch(input.x.view, got.route, {}, stream).event.synchronize();
                        expect_late(place.at("dispatch along a route"), difference(group.wait_statistics(), both),
                                    rank.index());
                      }),
            "");
}

// The statistics are there while the others' kernels wait for this rank, and copies of theirs behind them.
TEST_F(CudaTimes, AreReadWhileTheOthersWaitForTheReader) {
  scenario_.options.timeout = 20s;
  const PlainRound plain = plain_round(scenario_, 1201, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        void* copy = nullptr;  // pinned: the host does not wait for it; unpinning would
                        check(cudaHostAlloc(&copy, 64, cudaHostAllocDefault));
                        Group group(rank, scenario_.options);
                        group.set_wait_statistics(true);
                        const PlainInput input(rank.device(), plain, rank.index());
                        for (int i = 0; i < 20; ++i) {
                          const bool reads = rank.index() == i % kRanks;
                          std::optional<Dispatched> got;
                          const auto dispatch = [&] {
                            got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                          };
                          if (!reads) {
                            dispatch();
                            check(cudaMemcpyAsync(copy, got->rows.data(), 64, cudaMemcpyDeviceToHost, native(stream)));
                          }
                          rank.barrier();
                          if (reads) {
                            const auto begin = std::chrono::steady_clock::now();
                            static_cast<void>(group.wait_statistics());
                            const auto took = std::chrono::steady_clock::now() - begin;
                            place.require(took < 5s, "reading took " + std::to_string(took.count()) + " ns");
                            dispatch();
                          }
                          check_plain(place.at("round " + std::to_string(i)), scenario_, plain, rank.index(), *got);
                        }
                      }),
            "");
}

/// But for what a cycle is taken for, which every dispatch makes more exact.
void expect_no_less(const Place& place, const WaitTotals& totals, const WaitTotals& before) {
  place.require(totals.count >= before.count && totals.total >= before.total * 0.99,
                "totals have shrunk: " + text_of(totals) + " after " + text_of(before));
}

// Waits are added by the next operation of the kind, or by a reading beside it. A batch is as many operations as may be
// submitted ahead on a GPU that ranks share: none begins before all are there. The late rank is late by more than the
// GPUs take to begin what has been submitted, which after a long wait may be a tenth of a millisecond.
TEST_F(CudaTimes, AReadingAddsNothingTwiceAndLosesNothing) {
  if (!ranks_run_together()) GTEST_SKIP() << "needs a GPU for each process";
  constexpr int kBatches = 6;
  constexpr int kOperations = 12;  // of a batch: dispatches and combines in turn
  const PlainRound plain = plain_round(scenario_, 1202, Layout::rank_major);
  EXPECT_EQ(run_ranks(kRanks,
                      [&](Rank& rank, const Place& place) {
                        const Stream stream = backend().stream(rank.device());
                        Group group(rank, Start::options_of(scenario_));
                        const PlainInput input(rank.device(), plain, rank.index());
                        const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
                        const CombineBuffers combine(group, rank, plain, scenario_.options.hidden, stream);
                        const auto submit = [&](int operation) {
                          if (rank.index() == kLate) delay(stream, operation == 0 ? kSubmitted : kDelay);
                          if (operation % 2 == 0) {
                            static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options, stream));
                          } else {
                            group.combine(combine.y, got.route, combine.view, {}, stream);
                          }
                        };
                        const auto waits_for_late = [&] { return group.wait_statistics().peers[kLate].exchange; };
                        std::uint64_t expected = 0;
                        const auto expect_all = [&](int submitted, const std::string& what) {
                          check(cudaStreamSynchronize(native(stream)));
                          if (rank.index() != kLate) expected += static_cast<std::uint64_t>(submitted);
                          place.equal(expected, waits_for_late().count, "waits for the late rank, " + what);
                          place.equal(expected, waits_for_late().count, "read again, " + what);
                        };
                        group.set_wait_statistics(true);
                        WaitTotals before;
                        for (int batch = 0; batch < kBatches; ++batch) {
                          rank.barrier();
                          for (int i = 0; i < kOperations; ++i) submit(i);
                          while (batch % 2 == 0 && cudaStreamQuery(native(stream)) == cudaErrorNotReady) {
                            const WaitTotals now = waits_for_late();
                            expect_no_less(place, now, before);
                            before = now;
                          }
                          expect_all(kOperations, batch % 2 == 0 ? "read meanwhile" : "added by operations");
                        }

                        rank.barrier();
                        for (int i = 0; i < 6; ++i) {
                          group.set_wait_statistics(i / 2 != 1);
                          submit(i);
                        }
                        expect_all(4, "where two of six are not measured");
                      }),
            "");
}

}  // namespace
}  // namespace railyard::multi_rank
