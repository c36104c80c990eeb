// SPDX-License-Identifier: Apache-2.0
// Operations in flight, and ranks that are late at every stage, on GPUs. The host waits for nothing in between: results
// are compared on the device, with what an earlier operation delivered that was compared with the reference.
#include "multi_rank/cuda_fixture.hpp"

#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

/// One rank's inputs of a round, and what its operations must give.
struct Judged {
  PlainInput input;
  Route route;
  Tensor y;
  Sample rows;
  Sample sum;
};

Buffer out_for(const PlainRound& plain, int hidden, const Rank& rank) {
  return {rank.device(),
          static_cast<std::size_t>(plain.round.rows[static_cast<std::size_t>(rank.index())] * hidden) * 2};
}

TensorView view_of(const Buffer& out, int hidden, const Rank& rank) {
  return {out.data(), DType::bf16, {static_cast<std::int64_t>(out.bytes()) / 2 / hidden, hidden}, rank.device()};
}

/// Runs each round once, and compares it with the reference.
std::deque<Judged> judge(const Place& place, Rank& rank, Group& group, const Scenario& scenario,
                         const std::vector<PlainRound>& made, Stream stream) {
  const auto r = static_cast<std::size_t>(rank.index());
  const int hidden = scenario.options.hidden;
  std::deque<Judged> judged;
  for (const PlainRound& plain : made) {
    PlainInput input(rank.device(), plain, rank.index());
    const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
    check_plain(place, scenario, plain, rank.index(), got);
    const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
    upload(y, plain.round.combines.front().y[r].packed);
    const Buffer out = out_for(plain, hidden, rank);
    const TensorView view = view_of(out, hidden, rank);
    group.combine(y, got.route, view, {}, stream).check();
    place.require(out.download() == plain.expected.combined.front()[r], "combine differs from the reference");
    const ConstTensorView rows(got.rows.data(), DType::bf16, {got.route.num_rows(), hidden}, rank.device());
    Sample delivered(rank.device(), rows);
    judged.push_back({std::move(input), got.route, y, std::move(delivered), Sample(rank.device(), view)});
  }
  return judged;
}

void require_equal(const Place& place, const Buffer& differences, Stream also) {
  check(cudaStreamSynchronize(native(also)));
  std::uint64_t bytes = 0;
  backend().copy_to_host(&bytes, differences.data(), sizeof(bytes));
  place.equal(std::uint64_t{0}, bytes, "bytes that differ");
}

// Both kinds at once, received on another stream than that of the send parts.
TEST_F(Cuda, OperationsInFlightAreReceivedInSendOrder) {
  constexpr std::size_t kOperations = 12;
  const std::vector<PlainRound> made = rounds(5, 1300);
  const int hidden = scenario_.options.hidden;
  for (const int limit : {2, 3}) {
    scenario_.options.max_in_flight = limit;
    const auto body = [&](Rank& rank, const Place& place) {
      const Stream stream = backend().stream(rank.device());
      const Stream reader = new_stream();
      Group group(rank, scenario_.options);
      const std::deque<Judged> judged = judge(place, rank, group, scenario_, made, stream);
      std::deque<Buffer> outs;
      for (std::size_t i = 0; i < kOperations; ++i) outs.push_back(out_for(made[i % made.size()], hidden, rank));
      const Buffer differences(rank.device(), sizeof(std::uint64_t), 0, std::byte{0});
      std::deque<PendingDispatch> dispatches;
      std::deque<PendingCombine> combines;
      std::size_t received = 0;
      const auto receive = [&] {
        const Judged& expected = judged[received % judged.size()];
        const Dispatched got = dispatches.front().receive(reader);
        expected.rows.compare(got.rows, differences, reader);
        dispatches.pop_front();
        combines.front().receive(reader);
        expected.sum.compare(view_of(outs[received], hidden, rank), differences, reader);
        combines.pop_front();
        ++received;
      };
      for (std::size_t i = 0; i < kOperations; ++i) {
        const Judged& round = judged[i % judged.size()];
        const TensorView out = view_of(outs[i], hidden, rank);
        const auto send_dispatch = [&] {
          return group.dispatch_send(round.input.x.view, round.input.ids.view, round.input.options, stream);
        };
        const auto send_combine = [&] { return group.combine_send(round.y, round.route, out, {}, stream); };
        if (dispatches.size() == static_cast<std::size_t>(limit)) {
          const std::string most = "max_in_flight is " + std::to_string(limit);
          expect_error(place, ErrorCode::in_flight, {std::to_string(limit) + " dispatches pending", most},
                       [&] { static_cast<void>(send_dispatch()); });
          expect_error(place, ErrorCode::in_flight, {std::to_string(limit) + " combines pending", most},
                       [&] { static_cast<void>(send_combine()); });
          expect_error(place, ErrorCode::in_flight, {"receive in send order"},
                       [&] { static_cast<void>(dispatches.back().receive(reader)); });
          expect_error(place, ErrorCode::in_flight, {"receive in send order"},
                       [&] { static_cast<void>(combines.back().receive(reader)); });
          receive();
        }
        // Another rank is late each time.
        if (static_cast<int>(i % 3) == rank.index()) delay(stream, std::chrono::microseconds(300));
        dispatches.push_back(send_dispatch());
        combines.push_back(send_combine());
      }
      while (!dispatches.empty()) receive();
      require_equal(place, differences, reader);
      round_trip(place.at("afterwards"), group, scenario_, made.front(), rank.device());
    };
    EXPECT_EQ(run_ranks(scenario_.ranks(), body), "") << limit << " in flight";
  }
}

// Rank i % 3 is a millisecond late in operation i: before its dispatch; before its outputs, which are held, are read on
// another stream; before its combine. The heap has room for few more outputs than are held, so that blocks come back.
TEST_F(Cuda, ARankIsLateAtEveryStage) {
  constexpr std::size_t kOperations = 54;
  constexpr std::size_t kHeld = 3;
  const std::vector<PlainRound> made = rounds(5, 1400);
  const int hidden = scenario_.options.hidden;
  GroupOptions options = scenario_.options;
  options.heap_bytes =
      Group::bytes_needed(options, scenario_.ranks(), Layout::rank_major, DeviceKind::cuda) + (std::size_t{24} << 10);
  const auto body = [&](Rank& rank, const Place& place) {
    const Stream stream = backend().stream(rank.device());
    const Stream reader = new_stream();
    Group group(rank, options);
    const std::deque<Judged> judged = judge(place, rank, group, scenario_, made, stream);
    const Buffer differences(rank.device(), sizeof(std::uint64_t), 0, std::byte{0});
    std::deque<Buffer> outs;
    for (const PlainRound& plain : made) outs.push_back(out_for(plain, hidden, rank));
    std::deque<std::pair<const Judged*, Dispatched>> held;
    for (std::size_t i = 0; i < kOperations; ++i) {
      const Judged& round = judged[i % judged.size()];
      const Buffer& out = outs[i % outs.size()];
      const bool late = static_cast<int>(i % 3) == rank.index();
      const std::size_t stage = i / 3 % 3;
      if (late && stage == 0) delay(stream, std::chrono::milliseconds(1));
      Dispatched got = group.dispatch(round.input.x.view, round.input.ids.view, round.input.options, stream);
      check(cudaStreamWaitEvent(native(reader), static_cast<cudaEvent_t>(got.event.native()), 0));
      if (late && stage == 1) delay(reader, std::chrono::milliseconds(1));
      got.rows.lease().use_on(reader);
      round.rows.compare(got.rows, differences, reader);
      if (late && stage == 2) delay(stream, std::chrono::milliseconds(1));
      group.combine(round.y, got.route, view_of(out, hidden, rank), {}, stream);
      round.sum.compare(view_of(out, hidden, rank), differences, stream);
      device_tests::fill(static_cast<std::byte*>(out.data()), 0xFF, out.bytes(), native(stream));
      held.emplace_back(&round, std::move(got));
      if (held.size() > kHeld) {  // they are as they were, some operations later
        held.front().first->rows.compare(held.front().second.rows, differences, reader);
        held.pop_front();
      }
    }
    require_equal(place, differences, reader);
    for (const auto& [round, got] : held) got.check();
  };
  EXPECT_EQ(run_ranks(scenario_.ranks(), body), "");
}

}  // namespace
}  // namespace railyard::multi_rank
