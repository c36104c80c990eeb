// SPDX-License-Identifier: Apache-2.0
// Collectives of the TCP bootstrap: each rank a thread with an end of its own.
#include "bootstrap/tcp_bootstrap.hpp"

#include "unit/bootstrap/tcp_ranks.hpp"

#include <atomic>
#include <barrier>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace railyard::bootstrap {
namespace {

TEST(TcpBootstrap, GathersBlocksOfAllSizesInRankOrder) {
  for (int size = 1; size <= 8; ++size) {
    run_world(size, [size](Bootstrap& self) {
      EXPECT_EQ(self.size(), size);
      EXPECT_FALSE(self.one_process());
      for (const std::size_t bytes : {0UL, 1UL, 7UL, 4096UL, 100'001UL, 1UL << 20}) {
        const std::vector<unsigned char> mine(bytes, static_cast<unsigned char>(self.rank() + 1));
        std::vector<unsigned char> all(bytes * static_cast<std::size_t>(size), 0xEE);
        self.all_gather(mine.data(), all.data(), bytes, "blocks", 20s);
        std::vector<unsigned char> expected;
        for (int rank = 0; rank < size; ++rank)
          expected.insert(expected.end(), bytes, static_cast<unsigned char>(rank + 1));
        ASSERT_TRUE(all == expected) << bytes << " bytes";
      }
    });
  }
}

TEST(TcpBootstrap, ManyRoundsWithSlowRanks) {
  run_world(4, [](Bootstrap& self) {
    for (int round = 0; round < 300; ++round) {
      if (round % 100 == 25 * self.rank()) std::this_thread::sleep_for(30ms);
      const int mine = 1000 * round + self.rank();
      std::vector<int> all(4);
      self.all_gather(&mine, all.data(), sizeof(mine), "round", 20s);
      for (int rank = 0; rank < 4; ++rank) ASSERT_EQ(all[static_cast<std::size_t>(rank)], 1000 * round + rank);
    }
  });
}

TEST(TcpBootstrap, TimeoutNamesTheMissingAndMayBeRepeated) {
  std::barrier ready(2);  // nobody is late but rank 1
  std::barrier late(3);
  run_world(3, [&](Bootstrap& self) {
    for (int repeat = 0; repeat < 2; ++repeat) {
      if (self.rank() != 1) {
        ready.arrive_and_wait();
        const std::string text = error_of([&] { self.all_gather("a", nullptr, 1, "meeting", 400ms); });
        EXPECT_EQ(text, "RY-TIMEOUT: meeting: ranks 1 did not arrive within 400 ms");
      }
      late.arrive_and_wait();
    }
    // With other bytes than those that were taken back.
    const char mine = static_cast<char>('x' + self.rank());
    std::string all(3, '?');
    self.all_gather(&mine, all.data(), 1, "meeting", 20s);
    EXPECT_EQ(all, "xyz");
  });
}

TEST(TcpBootstrap, DifferentCallsAreAnErrorOnAllRanksAndTheNextWorks) {
  run_world(3, [](Bootstrap& self) {
    const char* purpose = self.rank() == 2 ? "coffee" : "tea";
    std::string text = error_of([&] { self.all_gather(nullptr, nullptr, 0, purpose, 20s); });
    EXPECT_NE(text.find("RY-OPERATION-MISMATCH: this rank called " + std::string(purpose)), std::string::npos) << text;
    EXPECT_NE(text.find(self.rank() == 2 ? "rank 0 called tea" : "rank 2 called coffee"), std::string::npos) << text;
    char all[30];
    text = error_of([&] { self.all_gather("0123456789", all, self.rank() == 0 ? 5 : 10, "water", 20s); });
    EXPECT_NE(text.find(self.rank() == 0 ? "rank 1 called water with 10 bytes" : "rank 0 called water with 5 bytes"),
              std::string::npos)
        << text;
    self.all_gather("0123456789", all, 10, "water", 20s);
    EXPECT_EQ(std::string(all, 30), "012345678901234567890123456789");
  });
}

TEST(TcpBootstrap, AbortEndsRunningAndLaterCollectivesEverywhere) {
  for (const int aborter : {0, 2}) {
    run_world(3, [aborter](Bootstrap& self) {
      const std::string reason = "rank " + std::to_string(aborter) + ": enough";
      self.all_gather(nullptr, nullptr, 0, "start", 20s);
      if (self.rank() == aborter) {
        std::this_thread::sleep_for(20ms);
        self.abort("enough");
        self.abort("a later reason is not the reason");
      } else {
        EXPECT_EQ(error_of([&] { self.all_gather(nullptr, nullptr, 0, "meeting", 60s); }),
                  "RY-ABORTED: meeting: " + reason);
      }
      EXPECT_EQ(error_of([&] { self.all_gather(nullptr, nullptr, 0, "again", 60s); }), "RY-ABORTED: again: " + reason);
      EXPECT_TRUE(self.abort_flag()->raised());
      EXPECT_EQ(self.abort_flag()->reason(), reason);
    });
  }
}

TEST(TcpBootstrap, AbortFromAnotherThreadReachesRanksThatWaitForNothing) {
  std::barrier seen(2);
  run_world(2, [&](Bootstrap& self) {
    if (self.rank() == 1) {
      std::thread other([&] { self.abort("from beside"); });
      other.join();
    } else {
      std::atomic<bool> raised = false;
      const auto watch = self.abort_flag()->watch([&] {
        raised = true;
        raised.notify_all();
      });
      raised.wait(false);
      EXPECT_EQ(self.abort_flag()->reason(), "rank 1: from beside");
    }
    seen.arrive_and_wait();
  });
}

TEST(TcpBootstrap, ARankThatLeavesEndsCollectivesAndRaisesNoFlag) {
  for (const int leaver : {0, 1}) {
    const ReservedPort port;
    std::barrier done(2);
    run_threads(3, [&](int rank) {
      auto self = make_tcp_bootstrap(port.rendezvous(rank, 3), 20s);
      self->all_gather(nullptr, nullptr, 0, "start", 20s);
      if (rank == leaver) return;
      for (int repeat = 0; repeat < 2; ++repeat) {
        EXPECT_EQ(error_of([&] { self->all_gather(nullptr, nullptr, 0, "meeting", 60s); }),
                  "RY-ABORTED: meeting: rank " + std::to_string(leaver) + " has left");
      }
      EXPECT_FALSE(self->abort_flag()->raised());
      done.arrive_and_wait();
    });
  }
}

TEST(TcpBootstrap, RefusesWhatItCannotDo) {
  run_world(1, [](Bootstrap& self) {
    EXPECT_NE(error_of([&] { static_cast<void>(self.share(nullptr, "heaps", 1s)); }).find("RY-UNSUPPORTED: heaps"),
              std::string::npos);
    const std::string text =
        error_of([&] { self.all_gather(nullptr, nullptr, (std::size_t{64} << 20) + 1, "much", 1s); });
    EXPECT_NE(text.find("RY-INVALID-ARGUMENT: much: a block of 67108865 bytes"), std::string::npos) << text;
  });
}

}  // namespace
}  // namespace railyard::bootstrap
