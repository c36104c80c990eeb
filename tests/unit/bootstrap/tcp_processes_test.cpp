// SPDX-License-Identifier: Apache-2.0
// Ranks as processes: that they meet, and that the death of one ends the waits of the others.
#include "bootstrap/tcp_bootstrap.hpp"

#include "unit/bootstrap/tcp_ranks.hpp"

#include <csignal>
#include <cstdio>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace railyard::bootstrap {
namespace {

// What a child returns: 0 if the texts are equal, else prints both.
int compare(const std::string& text, const std::string& expected) {
  if (text == expected) return 0;
  std::fprintf(stderr, "got \"%s\", expected \"%s\"\n", text.c_str(), expected.c_str());
  return 1;
}

TEST(TcpProcesses, GatherAcrossEightProcesses) {
  const ReservedPort port;
  run_processes(8, [&](int rank) {
    auto self = make_tcp_bootstrap(port.rendezvous(rank, 8), 20s);
    for (int round = 0; round < 50; ++round) {
      const int mine = 100 * round + rank;
      std::vector<int> all(8);
      self->all_gather(&mine, all.data(), sizeof(mine), "round", 20s);
      std::vector<int> expected(8);
      std::iota(expected.begin(), expected.end(), 100 * round);
      if (all != expected) return 1;
    }
    return 0;
  });
}

TEST(TcpProcesses, TwoHundredRanksOfOneMachine) {
  constexpr int kRanks = 200;
  const ReservedPort port;
  run_processes(kRanks, [&](int rank) {
    auto self = make_tcp_bootstrap(port.rendezvous(rank, kRanks), 50s);
    for (int round = 0; round < 3; ++round) {
      const int mine = 1000 * round + rank;
      std::vector<int> all(kRanks);
      self->all_gather(&mine, all.data(), sizeof(mine), "hundreds", 50s);
      for (int other = 0; other < kRanks; ++other) {
        if (all[static_cast<std::size_t>(other)] != 1000 * round + other) return 1;
      }
    }
    return 0;
  });
}

TEST(TcpProcesses, AbortCrossesProcesses) {
  const ReservedPort port;
  run_processes(3, [&](int rank) {
    auto self = make_tcp_bootstrap(port.rendezvous(rank, 3), 20s);
    if (rank == 1) {
      self->abort("a fault");
      return 0;
    }
    return compare(error_of([&] { self->all_gather(nullptr, nullptr, 0, "meeting", 50s); }),
                   "RY-ABORTED: meeting: rank 1: a fault");
  });
}

// Rank `victim` stops in the middle of a collective and is killed; the others must be told within a second.
void kill_one(int victim) {
  const ReservedPort port;
  std::vector<pid_t> children;
  for (int rank = 0; rank < 3; ++rank) {
    children.push_back(start_process([&] {
      auto self = make_tcp_bootstrap(port.rendezvous(rank, 3), 20s);
      self->all_gather(nullptr, nullptr, 0, "start", 20s);
      if (rank == victim) ::raise(SIGKILL);
      const auto begin = std::chrono::steady_clock::now();
      const std::string gone = "rank " + std::to_string(victim) + ": its process has gone";
      int wrong = compare(error_of([&] { self->all_gather(nullptr, nullptr, 0, "pending", 50s); }),
                          "RY-ABORTED: pending: " + gone);
      if (std::chrono::steady_clock::now() - begin > 1s) wrong = 2;
      return wrong + compare(error_of([&] { self->all_gather(nullptr, nullptr, 0, "later", 50s); }),
                             "RY-ABORTED: later: " + gone);
    }));
  }
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(wait_for_process(children[static_cast<std::size_t>(rank)]), rank == victim ? -SIGKILL : 0) << rank;
  }
}

TEST(TcpProcesses, AKilledRankIsNamedToTheOthers) { kill_one(2); }
TEST(TcpProcesses, AKilledRankZeroIsNamedToTheOthers) { kill_one(0); }

// What rank 0 has been told the others have been sent: that it stops dead then keeps nobody waiting.
TEST(TcpProcesses, RankZeroMayStopOnceItHasGathered) {
  constexpr int kRanks = 64;
  const ReservedPort port;
  std::vector<pid_t> children;
  for (int rank = 0; rank < kRanks; ++rank) {
    children.push_back(start_process([&] {
      auto self = make_tcp_bootstrap(port.rendezvous(rank, kRanks), 20s);
      self->all_gather(nullptr, nullptr, 0, "start", 20s);
      if (rank == 0) std::this_thread::sleep_for(200ms);  // its part is the last
      self->all_gather(nullptr, nullptr, 0, "gathered", 5s);
      if (rank == 0) ::raise(SIGSTOP);
      return 0;
    }));
  }
  for (int rank = 1; rank < kRanks; ++rank) {
    EXPECT_EQ(wait_for_process(children[static_cast<std::size_t>(rank)]), 0) << rank;
  }
  ::kill(children.front(), SIGKILL);
  EXPECT_EQ(wait_for_process(children.front()), -SIGKILL);
}

// Nobody answers then that what a rank takes back is taken back: only short deadlines, and who is called off, wait for
// that.
void stop_rank_zero_in_a_call(std::chrono::milliseconds deadline, std::chrono::milliseconds late) {
  const ReservedPort port;
  std::vector<pid_t> children;
  for (int rank = 0; rank < 4; ++rank) {
    children.push_back(start_process([&] {
      auto self = make_tcp_bootstrap(port.rendezvous(rank, 4), 20s);
      self->all_gather(nullptr, nullptr, 0, "start", 20s);
      if (rank == 0) ::raise(SIGSTOP);
      std::this_thread::sleep_for(100ms);
      AbortFlag cancel;
      std::thread canceller([&] {
        std::this_thread::sleep_for(deadline);
        if (rank == 3) cancel.raise("enough");
      });
      const auto begin = std::chrono::steady_clock::now();
      const auto call = [&] {
        if (rank == 1) return self->all_gather(nullptr, nullptr, 0, "pending", deadline);
        static_cast<void>(self->assemble(
            {.purpose = "recover", .key = "1", .members = {0, 1, 2, 3}, .quorum = Quorum::majority, .block = {}},
            rank == 2 ? std::chrono::nanoseconds(deadline) : 50s, cancel));
      };
      const std::string within = std::to_string(deadline.count()) + " ms";
      int wrong = compare(error_of(call), rank == 1 ? "RY-TIMEOUT: pending: ranks 0 did not arrive within " + within
                                                    : "RY-ABORTED: recover: rank 0: it does not answer");
      if (std::chrono::steady_clock::now() - begin > deadline + (rank == 3 ? 1500ms : late)) wrong += 2;
      canceller.join();
      return wrong;
    }));
  }
  for (int rank = 1; rank < 4; ++rank) {
    EXPECT_EQ(wait_for_process(children[static_cast<std::size_t>(rank)]), 0) << rank;
  }
  ::kill(children.front(), SIGKILL);
  EXPECT_EQ(wait_for_process(children.front()), -SIGKILL);
}

TEST(TcpProcesses, ACallThatRankZeroStopsInEndsSoonAfterAShortDeadline) { stop_rank_zero_in_a_call(300ms, 1500ms); }
TEST(TcpProcesses, ACallThatRankZeroStopsInEndsAtItsDeadline) { stop_rank_zero_in_a_call(2s, 500ms); }

TEST(TcpProcesses, AJoinThatRankZeroStopsInEndsAtItsDeadline) {
  const ReservedPort port;
  const pid_t zero = start_process([&] {
    static_cast<void>(make_tcp_bootstrap(port.rendezvous(0, 3), 30s));
    return 1;
  });
  const pid_t one = start_process([&] {
    const auto begin = std::chrono::steady_clock::now();
    const int wrong = compare(error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(1, 3), 2s)); }),
                              "RY-TIMEOUT: rendezvous of rank 1 at 127.0.0.1 port " + std::to_string(port.number()) +
                                  ": ranks 0 did not arrive within 2000 ms: it does not answer");
    return std::chrono::steady_clock::now() - begin > 2500ms ? wrong + 2 : wrong;
  });
  std::this_thread::sleep_for(500ms);
  ::kill(zero, SIGSTOP);
  EXPECT_EQ(wait_for_process(one), 0);
  ::kill(zero, SIGKILL);
  EXPECT_EQ(wait_for_process(zero), -SIGKILL);
}

TEST(TcpProcesses, ARankKilledWhileJoiningMayBeReplaced) {
  const ReservedPort port;
  const pid_t zero = start_process([&] {
    make_tcp_bootstrap(port.rendezvous(0, 2), 30s)->all_gather(nullptr, nullptr, 0, "met", 30s);
    return 0;
  });
  const pid_t lost = start_process([&] {
    static_cast<void>(make_tcp_bootstrap(port.rendezvous(1, 3), 30s));  // refused: tells that rank 0 listens
    return 1;
  });
  EXPECT_EQ(wait_for_process(lost), 99);
  const pid_t one = start_process([&] {
    make_tcp_bootstrap(port.rendezvous(1, 2), 30s)->all_gather(nullptr, nullptr, 0, "met", 30s);
    return 0;
  });
  EXPECT_EQ(wait_for_process(one), 0);
  EXPECT_EQ(wait_for_process(zero), 0);
}

}  // namespace
}  // namespace railyard::bootstrap
