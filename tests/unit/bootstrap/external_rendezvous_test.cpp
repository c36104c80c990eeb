// SPDX-License-Identifier: Apache-2.0
// A rendezvous in a process that is no rank: rank 0 connects, leaves and dies like the others.
#include "bootstrap/assembly.hpp"
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/tcp_connection.hpp"
#include "bootstrap/tcp_hub.hpp"

#include "unit/bootstrap/tcp_ranks.hpp"

#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <future>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::bootstrap {
namespace {

/// A hub of its own, as a process, or in a thread of this one.
class External {
 public:
  External() : listener_(listen_at("127.0.0.1", 0, Clock::now() + 10s)), port_(port_of(listener_.get())) {}

  [[nodiscard]] TcpRendezvous rendezvous(int rank, int size) const {
    return {.rank = rank, .size = size, .address = "127.0.0.1", .port = port_, .external = true};
  }
  void serve(int size) { TcpHub(size, "", nullptr, std::move(listener_), {}).run(); }
  [[nodiscard]] pid_t start(int size) {
    const pid_t process = start_process([&] {
      serve(size);
      return 0;
    });
    listener_.reset();
    return process;
  }

 private:
  FileDescriptor listener_;
  std::uint16_t port_;
};

TEST(ExternalRendezvous, EndsOnceAllHaveMetAndLeft) {
  External external;
  std::thread hub([&] { external.serve(3); });
  run_threads(3, [&](int rank) {
    const auto self = make_tcp_bootstrap(external.rendezvous(rank, 3), 20s);
    std::vector<int> all(3);
    self->all_gather(&rank, all.data(), sizeof(rank), "gather", 20s);
    EXPECT_EQ(all, (std::vector{0, 1, 2}));
  });
  hub.join();
}

/// Three ranks that have met, in a process each, and the hub: how each process ended, the hub's last.
std::vector<int> run_three(const std::function<int(Bootstrap&)>& function) {
  External external;
  const pid_t hub = external.start(3);
  std::vector<pid_t> children;
  for (int rank = 0; rank < 3; ++rank) {
    children.push_back(start_process([&] {
      const auto self = make_tcp_bootstrap(external.rendezvous(rank, 3), 20s);
      self->all_gather(nullptr, nullptr, 0, "start", 20s);
      return function(*self);
    }));
  }
  children.push_back(hub);
  std::vector<int> ends;
  for (const pid_t child : children) ends.push_back(wait_for_process(child));
  return ends;
}

TEST(ExternalRendezvous, RankZeroIsLostLikeAnyOther) {
  const auto rank = [](Bootstrap& self) {
    if (self.rank() == 0) ::raise(SIGKILL);
    const std::string gone = error_of([&] { self.all_gather(nullptr, nullptr, 0, "pending", 20s); });
    if (gone != "RY-ABORTED: pending: rank 0: its process has gone") return 1;
    if (!self.departure_flag(0)->raised() || self.survivor_flag()->raised()) return 2;
    AbortFlag nothing;
    const Attendance met = self.assemble(
        {.purpose = "go on", .key = "1", .members = {0, 1, 2}, .quorum = Quorum::majority, .block = {}}, 20s, nothing);
    return met.ranks == std::vector{1, 2} ? 0 : 3;
  };
  EXPECT_EQ(run_three(rank), (std::vector{-SIGKILL, 0, 0, 0}));
}

TEST(ExternalRendezvous, DeathsAreToldAlsoAfterRankZeroHasLeft) {
  const auto rank = [](Bootstrap& self) {
    if (self.rank() == 0) return 0;
    const std::string left = error_of([&] { self.all_gather(nullptr, nullptr, 0, "later", 20s); });
    if (left != "RY-ABORTED: later: rank 0 has left") return 1;
    AbortFlag nothing;
    static_cast<void>(
        self.assemble({.purpose = "without rank 0", .key = "1", .members = {1, 2}, .block = {}}, 20s, nothing));
    if (self.rank() == 2) ::raise(SIGKILL);
    const Clock::time_point deadline = Clock::now() + 20s;
    while (!self.departure_flag(2)->raised() && Clock::now() < deadline) std::this_thread::sleep_for(1ms);
    return self.departure_flag(2)->raised() ? 0 : 2;
  };
  EXPECT_EQ(run_three(rank), (std::vector{0, 0, -SIGKILL, 0}));
}

TEST(ExternalRendezvous, ItsEndEndsTheWorld) {
  External external;
  const pid_t hub = external.start(2);
  int met[2];
  ASSERT_EQ(::pipe(met), 0);
  std::vector<pid_t> children;
  for (int rank = 0; rank < 2; ++rank) {
    children.push_back(start_process([&] {
      const auto self = make_tcp_bootstrap(external.rendezvous(rank, 2), 20s);
      self->all_gather(nullptr, nullptr, 0, "start", 20s);
      if (::write(met[1], "m", 1) != 1) return 3;
      const std::string gone = "RY-ABORTED: pending: the rendezvous: its process has gone";
      const auto wait = [&] {
        for (int call = 0; call < 1000; ++call) {  // both, until it has gone
          self->all_gather(nullptr, nullptr, 0, "pending", 20s);
          std::this_thread::sleep_for(10ms);
        }
      };
      if (error_of(wait) != gone) return 1;
      return self->survivor_flag()->raised() && !self->departure_flag(0)->raised() ? 0 : 2;
    }));
  }
  char byte = 0;
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(::read(met[0], &byte, 1), 1);
  ::kill(hub, SIGKILL);
  EXPECT_EQ(wait_for_process(children[0]), 0);
  EXPECT_EQ(wait_for_process(children[1]), 0);
  EXPECT_EQ(wait_for_process(hub), -SIGKILL);
  ::close(met[0]);
  ::close(met[1]);
}

// Each of them would go on alone, and be lost later.
TEST(ExternalRendezvous, RanksLookForTheSameHost) {
  External external;
  const pid_t hub = external.start(2);
  run_processes(2, [&](int rank) {
    TcpRendezvous rendezvous = external.rendezvous(rank, 2);
    if (rank == 1) rendezvous.external = false;
    const std::string text = error_of([&] { static_cast<void>(make_tcp_bootstrap(rendezvous, 20s)); });
    const bool refused = text.find("`railyard rendezvous` listens there, and this rank looks for rank 0") != text.npos;
    return (rank == 1) == refused ? 0 : 1;
  });
  EXPECT_EQ(wait_for_process(hub), 0);
  const ReservedPort port;
  run_processes(2, [&](int rank) {
    TcpRendezvous rendezvous = port.rendezvous(rank, 2);
    rendezvous.external = rank == 1;
    const std::string text = error_of([&] { static_cast<void>(make_tcp_bootstrap(rendezvous, 20s)); });
    const bool refused = text.find("rank 0 listens there, and this rank looks for `railyard rendezvous`") != text.npos;
    return (rank == 1) == refused ? 0 : 1;
  });
}

TEST(ExternalRendezvous, WhoComesForTheNextWorldIsToldThatThisOneHasNotEnded) {
  External external;
  const pid_t hub = external.start(2);
  run_processes(2, [&](int rank) {
    auto self = make_tcp_bootstrap(external.rendezvous(rank, 2), 20s);
    self->all_gather(nullptr, nullptr, 0, "start", 20s);
    if (rank == 0) {
      self.reset();
      const std::string text =
          error_of([&] { static_cast<void>(make_tcp_bootstrap(external.rendezvous(0, 2), 300ms)); });
      return text.find("an earlier world has not ended: ranks 1 are in it") != text.npos ? 0 : 1;
    }
    std::this_thread::sleep_for(700ms);
    return 0;
  });
  EXPECT_EQ(wait_for_process(hub), 0);
}

// A rank that gives up joining just as everybody has come.
TEST(ExternalRendezvous, AWithdrawalThatCrossesTheWelcomeIsOfNoCollective) {
  External external;
  const pid_t hub = external.start(2);
  auto other = std::async(std::launch::async, [&] { return make_tcp_bootstrap(external.rendezvous(1, 2), 20s); });
  std::string failure;
  Connection late(connect_to("127.0.0.1", external.rendezvous(0, 2).port, Clock::now() + 10s, failure), 4096);
  const auto say = [&](MessageKind kind, std::uint64_t sequence, std::string_view payload) {
    late.queue(make_packet({.kind = static_cast<std::uint16_t>(kind), .world_size = 2, .sequence = sequence}, payload));
    ASSERT_TRUE(late.write_some());
  };
  const auto hear = [&] {
    Message message;
    while (late.next(message) == Connection::Next::none) {
      pollfd event{.fd = late.descriptor(), .events = POLLIN, .revents = 0};
      if (::poll(&event, 1, 10'000) != 1 || !late.read_some()) break;
    }
    return message;
  };
  say(MessageKind::hello, 0, "");
  auto joined = other.get();
  say(MessageKind::withdraw, kHelloSequence, "");
  EXPECT_EQ(hear().kind(), MessageKind::welcome);
  say(MessageKind::contribute, 0, std::string(sizeof(std::uint32_t), '\0'));
  joined->all_gather(nullptr, nullptr, 0, "", 20s);
  EXPECT_EQ(hear().kind(), MessageKind::gathered);
  late.shut_down_output();
  joined.reset();
  EXPECT_EQ(wait_for_process(hub), 0);
}

TEST(ExternalRendezvous, WhoIsNotLetInIsToldWhy) {
  const ReservedPort port;
  TcpRendezvous nobody = port.rendezvous(0, 2);
  nobody.external = true;
  EXPECT_EQ(error_of([&] { static_cast<void>(make_tcp_bootstrap(nobody, 50ms)); }),
            "RY-TIMEOUT: rendezvous of rank 0 at 127.0.0.1 port " + std::to_string(port.number()) +
                ": no `railyard rendezvous` let it in within 50 ms: Connection refused");
  External external;
  const pid_t hub = external.start(2);
  const std::string refused = error_of([&] { static_cast<void>(make_tcp_bootstrap(external.rendezvous(0, 3), 20s)); });
  EXPECT_NE(refused.find("RY-CONFIG-MISMATCH"), std::string::npos) << refused;
  EXPECT_NE(refused.find("is of a world of 3 ranks, the rendezvous of one of 2"), std::string::npos) << refused;
  const std::string alone = error_of([&] { static_cast<void>(make_tcp_bootstrap(external.rendezvous(1, 2), 100ms)); });
  EXPECT_NE(alone.find("RY-TIMEOUT"), std::string::npos) << alone;
  EXPECT_NE(alone.find("ranks 0 did not arrive within 100 ms"), std::string::npos) << alone;
  run_processes(2, [&](int rank) {  // who gave up may try again
    make_tcp_bootstrap(external.rendezvous(rank, 2), 20s)->all_gather(nullptr, nullptr, 0, "all here", 20s);
    return 0;
  });
  EXPECT_EQ(wait_for_process(hub), 0);
}

}  // namespace
}  // namespace railyard::bootstrap
