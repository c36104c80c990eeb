// SPDX-License-Identifier: Apache-2.0
// How ranks find each other over TCP, and whom they refuse.
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/tcp_connection.hpp"
#include "bootstrap/tcp_hub.hpp"
#include "bootstrap/tcp_join.hpp"
#include "bootstrap/tcp_socket.hpp"

#include "unit/bootstrap/tcp_ranks.hpp"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::bootstrap {
namespace {

// Connects, says `bytes`, and returns what is said until the other side closes, or for ten seconds.
std::string talk(std::uint16_t port, const std::string& bytes) {
  std::string failure;
  FileDescriptor socket;
  while (!socket.valid()) socket = connect_to("127.0.0.1", port, Clock::now() + 10s, failure);
  EXPECT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  std::string answer;
  const Clock::time_point deadline = Clock::now() + 10s;
  char buffer[4096];
  pollfd event{.fd = socket.get(), .events = POLLIN, .revents = 0};
  while (::poll(&event, 1, poll_timeout_ms(deadline)) > 0) {
    const ssize_t got = ::recv(socket.get(), buffer, sizeof(buffer), 0);
    if (got <= 0) break;
    answer.append(buffer, static_cast<std::size_t>(got));
  }
  return answer;
}

std::string hello(MessageHeader header) {
  const Packet packet = make_packet(header);
  return {reinterpret_cast<const char*>(packet->data()), packet->size()};
}

TEST(TcpRendezvous, RanksMayComeInAnyOrder) {
  const ReservedPort port;
  run_threads(4, [&](int rank) {
    std::this_thread::sleep_for(30ms * (3 - rank));  // rank 0, which listens, comes last
    auto self = make_tcp_bootstrap(port.rendezvous(rank, 4), 20s);
    self->all_gather(nullptr, nullptr, 0, "all here", 20s);
  });
}

TEST(TcpRendezvous, NamesAndIpv6) {
  for (const char* address : {"localhost", "::1"}) {
    const ReservedPort port;
    if (std::string(address) == "::1") {
      std::string failure;
      try {
        static_cast<void>(listen_at(address, port.number(), Clock::now()));
      } catch (const Error& error) {
        GTEST_SKIP() << "no IPv6 here: " << error.what();
      }
    }
    run_threads(2, [&](int rank) {
      TcpRendezvous rendezvous = port.rendezvous(rank, 2);
      rendezvous.address = address;
      make_tcp_bootstrap(rendezvous, 20s)->all_gather(nullptr, nullptr, 0, "all here", 20s);
    });
  }
}

// An address of this machine at which others could reach it; empty: it has none.
std::string outer_address() {
  ifaddrs* interfaces = nullptr;
  if (::getifaddrs(&interfaces) != 0) return {};
  std::array<char, INET_ADDRSTRLEN> text{};
  for (const ifaddrs* at = interfaces; at != nullptr && text[0] == '\0'; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_LOOPBACK) != 0) continue;
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text.data(), text.size());
  }
  ::freeifaddrs(interfaces);
  return text.data();
}

TEST(TcpRendezvous, OnlyLoopbackAddressesKeepOtherMachinesOut) {
  const std::string outer = outer_address();
  if (outer.empty()) GTEST_SKIP() << "this machine has no address but loopback";
  std::array<char, 256> own{};
  ASSERT_EQ(::gethostname(own.data(), own.size() - 1), 0);
  const auto reached = [&](const std::string& address) {
    const FileDescriptor listener = listen_at(address, 0, Clock::now() + 10s);
    std::string failure;
    return connect_to(outer, port_of(listener.get()), Clock::now() + 10s, failure).valid();
  };
  EXPECT_TRUE(reached(outer));
  for (const char* loopback : {"127.0.0.1", "127.0.1.1", "localhost"}) EXPECT_FALSE(reached(loopback)) << loopback;
  addrinfo* found = nullptr;
  if (::getaddrinfo(own.data(), nullptr, nullptr, &found) != 0) {
    GTEST_SKIP() << "the name of this machine has no address: " << own.data();
  }
  ::freeaddrinfo(found);
  EXPECT_TRUE(reached(own.data())) << own.data();
}

TEST(TcpRendezvous, TimeoutNamesTheMissingAndMayBeRepeated) {
  const ReservedPort port;
  const std::string place = " at 127.0.0.1 port " + std::to_string(port.number());
  EXPECT_EQ(error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(2, 4), 50ms)); }),
            "RY-TIMEOUT: rendezvous of rank 2" + place + ": ranks 0 did not arrive within 50 ms: Connection refused");
  auto listening = std::async(std::launch::async, [&] {
    return error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(0, 4), 1500ms)); });
  });
  std::string text;
  for (int attempt = 0; attempt < 20 && text.find("ranks 1") == std::string::npos; ++attempt) {
    text = error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(2, 4), 100ms)); });
  }
  EXPECT_EQ(text, "RY-TIMEOUT: rendezvous of rank 2" + place + ": ranks 1, 3 did not arrive within 100 ms");
  EXPECT_EQ(listening.get(),
            "RY-TIMEOUT: rendezvous of rank 0" + place + ": ranks 1, 2, 3 did not arrive within 1500 ms");
  run_threads(4, [&](int rank) {
    make_tcp_bootstrap(port.rendezvous(rank, 4), 20s)->all_gather(nullptr, nullptr, 0, "all here", 20s);
  });
}

TEST(TcpRendezvous, StrangersAreToldAndDoNoHarm) {
  const ReservedPort port;
  auto zero = std::async(std::launch::async, [&] { return make_tcp_bootstrap(port.rendezvous(0, 2), 20s); });
  const auto expect_refusal = [&](const std::string& said, const std::string& reason) {
    const std::string answer = talk(port.number(), said);
    EXPECT_NE(answer.find(reason), std::string::npos) << answer;
  };
  expect_refusal("GET / HTTP/1.1\r\n\r\n", "does not speak Railyard's rendezvous");
  expect_refusal(std::string(100'000, '\0'), "does not speak Railyard's rendezvous");
  expect_refusal(hello({.version = 9, .world_size = 2, .rank = 1}), "rank 1 from 127.0.0.1 port");
  expect_refusal(hello({.version = 9, .world_size = 2, .rank = 1}),
                 "speaks version 9 of the rendezvous, rank 0 version " + std::to_string(kWireVersion));
  expect_refusal(hello({.world_size = 2, .rank = 2}), "does not begin as a rank does");
  expect_refusal(hello({.world_size = 2, .rank = -1}), "does not begin as a rank does");
  expect_refusal(hello({.world_size = 2, .rank = 0}), "rank 0 from 127.0.0.1");
  expect_refusal(hello({.kind = 4, .world_size = 2, .rank = 1}), "does not begin as a rank does");
  MessageHeader huge{.world_size = 2, .rank = 1};
  std::string endless = hello(huge);
  endless.replace(sizeof(huge) - 8, 8, std::string(8, '\x7F'));
  expect_refusal(endless, "does not speak Railyard's rendezvous");

  std::string failure;
  const FileDescriptor silent = connect_to("127.0.0.1", port.number(), Clock::now() + 10s, failure);
  EXPECT_TRUE(silent.valid()) << failure;
  EXPECT_NE(error_of([&] {
              static_cast<void>(make_tcp_bootstrap(port.rendezvous(3, 4), 20s));
            }).find("refused: rank 3 from 127.0.0.1"),
            std::string::npos);
  auto one = make_tcp_bootstrap(port.rendezvous(1, 2), 20s);
  auto first = zero.get();
  const std::string twice = error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(1, 2), 20s)); });
  EXPECT_NE(twice.find("RY-CONFIG-MISMATCH"), std::string::npos) << twice;
  EXPECT_NE(twice.find("is there twice"), std::string::npos) << twice;
  expect_refusal("nonsense", "does not speak Railyard's rendezvous");
  std::thread other([&] { one->all_gather(nullptr, nullptr, 0, "still here", 20s); });
  first->all_gather(nullptr, nullptr, 0, "still here", 20s);
  other.join();
  EXPECT_FALSE(first->abort_flag()->raised());
}

TEST(TcpRendezvous, WhoSaysNothingIsClosedAndLogged) {
  FileDescriptor listener = listen_at("127.0.0.1", 0, Clock::now() + 10s);
  const std::uint16_t port = port_of(listener.get());
  std::vector<std::string> lines;
  auto log = std::make_shared<diagnostics::Log>(LogLevel::warn,
                                                [&](LogLevel, std::string_view line) { lines.emplace_back(line); });
  std::thread hub([&] { TcpHub(1, "", std::move(log), std::move(listener), {}, 300ms).run(); });
  std::string failure;
  const FileDescriptor silent = connect_to("127.0.0.1", port, Clock::now() + 10s, failure);
  pollfd event{.fd = silent.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&event, 1, 10'000), 1);
  char byte = 0;
  EXPECT_EQ(::recv(silent.get(), &byte, 1, 0), 0) << "it was not closed";
  const TcpRendezvous alone{.rank = 0, .size = 1, .address = "127.0.0.1", .port = port, .external = true};
  static_cast<void>(make_tcp_bootstrap(alone, 20s));
  hub.join();
  ASSERT_FALSE(lines.empty());
  EXPECT_TRUE(lines[0].starts_with("rendezvous: closed: a connection from 127.0.0.1 port ")) << lines[0];
  EXPECT_TRUE(lines[0].ends_with(" has not said within 300 ms which rank it is")) << lines[0];
}

TEST(TcpRendezvous, RankZeroLeavesOnceASlowRankHasItsBlocks) {
  constexpr std::size_t kBytes = std::size_t{32} << 20;  // more than sockets hold
  const ReservedPort port;
  std::thread zero([&] {
    const auto self = make_tcp_bootstrap(port.rendezvous(0, 2), 60s);
    const std::string mine(kBytes, 'a');
    std::string all(2 * kBytes, ' ');
    self->all_gather(mine.data(), all.data(), kBytes, "", 60s);
  });
  std::string failure;
  FileDescriptor socket = connect_to("127.0.0.1", port.number(), Clock::now() + 10s, failure);
  while (!socket.valid()) socket = connect_to("127.0.0.1", port.number(), Clock::now() + 10s, failure);
  Connection slow(std::move(socket), 4 * kBytes);
  const auto say = [&](MessageKind kind, std::string_view payload) {
    slow.queue(make_packet({.kind = static_cast<std::uint16_t>(kind), .world_size = 2, .rank = 1}, payload));
    while (slow.has_output()) {
      pollfd event{.fd = slow.descriptor(), .events = POLLOUT, .revents = 0};
      ::poll(&event, 1, 1000);
      ASSERT_TRUE(slow.write_some());
    }
  };
  const auto hear = [&](int pauses) {
    Message message;
    for (bool open = true; slow.next(message) == Connection::Next::none && open;) {
      pollfd event{.fd = slow.descriptor(), .events = POLLIN, .revents = 0};
      ::poll(&event, 1, 1000);
      for (int part = 0; open && part < 100; ++part) open = slow.read_some();
      if (pauses-- > 0) std::this_thread::sleep_for(400ms);
    }
    return message;
  };
  say(MessageKind::hello, "");
  EXPECT_EQ(hear(0).kind(), MessageKind::welcome);
  say(MessageKind::contribute, std::string(sizeof(std::uint32_t), '\0') + std::string(kBytes, 'b'));
  const Message gathered = hear(4);
  EXPECT_EQ(gathered.kind(), MessageKind::gathered);
  EXPECT_EQ(gathered.payload.size(), 2 * kBytes);
  zero.join();
}

TEST(TcpRendezvous, WhomRankZeroMissedIsNamedAlsoAfterItGaveUp) {
  const ReservedPort port;
  run_threads(2, [&](int rank) {
    const auto timeout = rank == 0 ? 2s : 3s;
    const std::string text =
        error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(rank, 3), timeout)); });
    EXPECT_NE(text.find("RY-TIMEOUT"), std::string::npos) << text;
    EXPECT_NE(text.find("ranks 2"), std::string::npos) << text;
  });
}

TEST(TcpRendezvous, ATimeoutSaysWhoWasRefusedMeanwhile) {
  const ReservedPort port;
  auto zero = std::async(std::launch::async, [&] {
    return error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(0, 2), 1500ms)); });
  });
  const std::string refused = error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(1, 3), 20s)); });
  EXPECT_NE(refused.find("is of a world of 3 ranks, rank 0 of one of 2"), std::string::npos) << refused;
  const std::string text = zero.get();
  EXPECT_NE(text.find("ranks 1 did not arrive within 1500 ms: refused meanwhile: rank 1 from"), std::string::npos)
      << text;
}

// Rank 0's end is there before it says so: others may be refused in between.
TEST(TcpRendezvous, ATimeoutSaysWhoWasRefusedBeforeRankZeroSpoke) {
  FileDescriptor listener = listen_at("127.0.0.1", 0, Clock::now() + 10s);
  const std::uint16_t port = port_of(listener.get());
  auto ends = make_socket_pair();
  TcpHub hub(2, "", nullptr, std::move(listener), std::move(ends.first));
  std::thread thread([&] { hub.run(); });
  EXPECT_NE(talk(port, hello({.world_size = 3, .rank = 1})).find("is of a world of 3 ranks"), std::string::npos);
  const TcpRendezvous zero{.rank = 0, .size = 2, .address = "127.0.0.1", .port = port};
  const std::string text =
      error_of([&] { static_cast<void>(join_world(zero, 50ms, Clock::now() + 50ms, std::move(ends.second))); });
  EXPECT_NE(text.find("ranks 1 did not arrive within 50 ms: refused meanwhile: rank 1 from"), std::string::npos)
      << text;
  thread.join();
}

TEST(TcpRendezvous, WhatListensMayNotBeRailyard) {
  const ReservedPort port;
  const FileDescriptor listener = listen_at("127.0.0.1", port.number(), Clock::now() + 10s);
  auto client = std::async(std::launch::async, [&] {
    return error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(1, 2), 20s)); });
  });
  pollfd event{.fd = listener.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&event, 1, 10'000), 1);
  std::string origin;
  const FileDescriptor accepted = accept_from(listener.get(), origin);
  ASSERT_EQ(::send(accepted.get(), "220 mail\r\n", 10, MSG_NOSIGNAL), 10);
  const std::string text = client.get();
  EXPECT_NE(text.find("RY-CONFIG-MISMATCH"), std::string::npos) << text;
  EXPECT_NE(text.find("what listens there is not Railyard"), std::string::npos) << text;
  const std::string taken = error_of([&] { static_cast<void>(make_tcp_bootstrap(port.rendezvous(0, 1), 100ms)); });
  EXPECT_NE(taken.find("RY-INVALID-ARGUMENT: cannot listen at 127.0.0.1 port"), std::string::npos) << taken;
}

TEST(TcpRendezvous, BadArguments) {
  const auto text_for = [](const TcpRendezvous& rendezvous) {
    return error_of([&] { static_cast<void>(make_tcp_bootstrap(rendezvous, 1s)); });
  };
  EXPECT_NE(text_for({.rank = 2, .size = 2, .address = "127.0.0.1", .port = 1}).find("RY-INVALID-ARGUMENT: rank 2 of"),
            std::string::npos);
  EXPECT_NE(text_for({.rank = 0, .size = 1, .address = "127.0.0.1", .port = 0}).find("port"), std::string::npos);
  EXPECT_NE(text_for({.rank = 0, .size = 1, .address = "", .port = 1}).find("address"), std::string::npos);
}

}  // namespace
}  // namespace railyard::bootstrap
