// SPDX-License-Identifier: Apache-2.0
// Whatever strangers say to rank 0, the world forms, and its ranks gather; whatever a rank that knows the secret says
// after its welcome, rank 0 gets an answer or an error.
#include "bootstrap/assembly.hpp"
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/tcp_connection.hpp"
#include "bootstrap/tcp_socket.hpp"
#include "fuzz/fuzz.hpp"

#include <railyard/error.hpp>

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <vector>

namespace railyard::fuzz {
namespace {

using namespace bootstrap;
using namespace std::chrono_literals;

constexpr const char* kSecret = "of this job";
constexpr auto kPatience = 10s;  // for what must succeed

TcpRendezvous rendezvous_of(int rank, std::uint16_t port) {
  return {.rank = rank, .size = 2, .address = "127.0.0.1", .port = port, .secret = kSecret};
}

// A header with fields that may be right, and some payload; or bytes without any form.
std::string message_of(Input& input) {
  std::string payload = input.text(40);
  if (input.flag()) return payload;
  if (input.between(0, 3) == 0) {  // an assembly that may be right
    AssemblyRequest request;
    request.key = payload.substr(0, 3);
    for (int count = input.between(0, 3); count > 0; --count) request.members.push_back(input.between(-1, 3));
    request.quorum = static_cast<Quorum>(input.between(0, 2));
    payload = encode(request);
    payload.resize(payload.size() - static_cast<std::size_t>(input.between(0, 3)));
  }
  MessageHeader header{.kind = static_cast<std::uint16_t>(input.between(0, 16)),
                       .world_size = input.between(1, 3),
                       .rank = input.between(-1, 2),
                       .sequence = static_cast<std::uint64_t>(input.between(0, 2))};
  if (input.between(0, 9) == 0) header.version = input.value<std::uint16_t>();
  const Packet packet = make_packet(header, payload);
  std::string bytes(reinterpret_cast<const char*>(packet->data()), packet->size());
  if (input.between(0, 9) == 0) {  // another length than there is
    const auto wrong = input.value<std::uint64_t>();
    std::memcpy(bytes.data() + offsetof(MessageHeader, payload_bytes), &wrong, sizeof(wrong));
  }
  return bytes;
}

void say(int socket, const std::string& bytes) {
  static_cast<void>(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

FileDescriptor call(std::uint16_t port) {
  std::string failure;
  FileDescriptor socket = connect_to("127.0.0.1", port, Clock::now() + kPatience, failure);
  require(socket.valid(), "rank 0 does not listen: " + failure);
  return socket;
}

std::string hello() {
  const Packet packet =
      make_packet({.kind = static_cast<std::uint16_t>(MessageKind::hello), .world_size = 2, .rank = 1}, kSecret);
  return {reinterpret_cast<const char*>(packet->data()), packet->size()};
}

std::array<int, 2> gather(Bootstrap& bootstrap, std::chrono::nanoseconds timeout) {
  const int mine = 10 + bootstrap.rank();
  std::array<int, 2> all{};
  bootstrap.all_gather(&mine, all.data(), sizeof(mine), "gather", timeout);
  return all;
}

void meet_strangers(Input& input, std::uint16_t port) {
  std::vector<FileDescriptor> strangers;
  for (int count = input.between(0, 3); count > 0; --count) {
    strangers.push_back(call(port));
    for (int messages = input.between(1, 3); messages > 0; --messages) say(strangers.back().get(), message_of(input));
    if (input.flag()) strangers.pop_back();
  }
  const auto one = make_tcp_bootstrap(rendezvous_of(1, port), kPatience);
  require(gather(*one, kPatience) == std::array{10, 11}, "rank 1 gathered something else");
}

void be_a_bad_rank(Input& input, std::uint16_t port) {
  const FileDescriptor socket = call(port);
  say(socket.get(), hello());
  for (int messages = input.between(1, 4); messages > 0; --messages) say(socket.get(), message_of(input));
}

}  // namespace

void fuzz_rendezvous(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const bool knows_the_secret = input.flag();
  FileDescriptor listener = listen_at("127.0.0.1", 0, Clock::now() + kPatience);
  const std::uint16_t port = port_of(listener.get());
  auto zero = std::async(std::launch::async, [&] {
    try {
      const auto join = knows_the_secret ? std::chrono::nanoseconds(100ms) : kPatience;  // it may take its hello back
      const auto self = make_tcp_bootstrap(rendezvous_of(0, port), join, nullptr, std::move(listener));
      const auto all = gather(*self, knows_the_secret ? std::chrono::nanoseconds(2ms) : kPatience);
      require(knows_the_secret || all == std::array{10, 11}, "rank 0 gathered something else");
    } catch (const Error& error) {
      require(knows_the_secret, std::string("strangers kept the world from forming: ") + error.what());
    }
  });
  if (knows_the_secret) {
    be_a_bad_rank(input, port);
  } else {
    meet_strangers(input, port);
  }
  zero.get();
}

}  // namespace railyard::fuzz
