// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/tcp_socket.hpp"

#include "bootstrap/background_thread.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <system_error>
#include <thread>

namespace railyard::bootstrap {
namespace {

constexpr int kBacklog = 4096;  // every rank of a large job at once; the kernel cuts it
constexpr auto kPortRetry = std::chrono::seconds(1);
constexpr auto kPortPause = std::chrono::milliseconds(20);
constexpr auto kConnectTimeout = std::chrono::seconds(5);  // then the next address is tried

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

std::string text_of(int error) { return std::generic_category().message(error); }

struct Resolved {
  Addresses addresses{nullptr, &::freeaddrinfo};
  std::string failure;
};

Resolved resolve_here(const std::string& address, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.empty() ? nullptr : address.c_str(), diagnostics::format("{}", port).c_str(),
                                  &hints, &found);
  if (error != 0) return {.failure = error == EAI_SYSTEM ? text_of(errno) : ::gai_strerror(error)};
  return {.addresses = {found, &::freeaddrinfo}, .failure = {}};
}

// A name server that is silent takes longer than deadlines are, and cannot be interrupted: a thread asks it, and is
// left behind if it comes too late.
Resolved resolve(const std::string& address, std::uint16_t port, Clock::time_point deadline) {
  if (Resolved number = resolve_here(address, port, AI_NUMERICHOST); number.addresses) return number;
  std::promise<Resolved> promise;
  std::future<Resolved> answer = promise.get_future();
  start_background_thread(
      [address, port, given = std::move(promise)]() mutable {
        try {
          given.set_value(resolve_here(address, port, 0));
        } catch (...) {
          given.set_exception(std::current_exception());
        }
      },
      "the name of a host")
      .detach();
  if (answer.wait_until(deadline) == std::future_status::ready) return answer.get();
  return {.failure = "the name server does not answer"};
}

void set_option(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof(value));
}

// A host that vanishes without a word is noticed within about half a minute.
void set_options(int socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 4);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
}

FileDescriptor open_socket(int family) {
  return FileDescriptor(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
  }
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

// The machine's own name does not, whatever it resolves to here: Debian gives it 127.0.1.1.
bool means_this_machine_alone(const std::string& address) {
  const Resolved number = resolve_here(address, 0, AI_NUMERICHOST);
  return address == "localhost" || (number.addresses && is_loopback(number.addresses->ai_addr));
}

// A connection attempt to a free port of this machine may be given that port itself and meet itself.
bool is_connected_to_itself(int socket) {
  sockaddr_storage own{};
  sockaddr_storage peer{};
  socklen_t own_bytes = sizeof(own);
  socklen_t peer_bytes = sizeof(peer);
  return ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &own_bytes) == 0 &&
         ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_bytes) == 0 && own_bytes == peer_bytes &&
         std::memcmp(&own, &peer, own_bytes) == 0;
}

FileDescriptor try_listen(const addrinfo& at, int& error) {
  FileDescriptor socket = open_socket(at.ai_family);
  if (!socket.valid()) {
    error = errno;
    return {};
  }
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (at.ai_family == AF_INET6) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, is_loopback(at.ai_addr) ? 1 : 0);
  if (::bind(socket.get(), at.ai_addr, at.ai_addrlen) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    error = errno;
    return {};
  }
  return socket;
}

// Zero, or the errno of the attempt.
int try_connect(int socket, const addrinfo& to, Clock::time_point deadline) {
  if (::connect(socket, to.ai_addr, to.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return errno;
    pollfd waiting{.fd = socket, .events = POLLOUT, .revents = 0};
    while (::poll(&waiting, 1, poll_timeout_ms(deadline)) <= 0) {
      if (Clock::now() >= deadline) return ETIMEDOUT;
    }
    int error = 0;
    socklen_t bytes = sizeof(error);
    ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error != 0) return error;
  }
  return is_connected_to_itself(socket) ? ECONNREFUSED : 0;
}

}  // namespace

FileDescriptor listen_at(const std::string& address, std::uint16_t port, Clock::time_point deadline) {
  auto [addresses, failure] = resolve(address, port, deadline);
  if (addresses && !means_this_machine_alone(address)) {
    Resolved all = resolve_here("", port, AI_PASSIVE);
    addresses = std::move(all.addresses);
    failure = std::move(all.failure);
  }
  int error = 0;
  const Clock::time_point end = std::min(deadline, Clock::now() + kPortRetry);
  while (addresses) {
    // IPv6 first: where it is there, its socket for all interfaces takes IPv4 too.
    error = 0;
    for (const int family : {AF_INET6, AF_INET}) {
      for (const addrinfo* at = addresses.get(); at != nullptr && error != EADDRINUSE; at = at->ai_next) {
        if (at->ai_family != family) continue;
        FileDescriptor socket = try_listen(*at, error);
        if (socket.valid()) return socket;
      }
    }
    failure = text_of(error);
    if (error != EADDRINUSE || Clock::now() + kPortPause >= end) break;
    std::this_thread::sleep_for(kPortPause);
  }
  throw Error(ErrorCode::invalid_argument,
              diagnostics::format("cannot listen at {} port {}: {}", address, port, failure));
}

std::uint16_t port_of(int listener) {
  sockaddr_storage own{};
  socklen_t bytes = sizeof(own);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&own), &bytes);
  return ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(own).sin6_port
                                         : reinterpret_cast<const sockaddr_in&>(own).sin_port);
}

FileDescriptor connect_to(const std::string& address, std::uint16_t port, Clock::time_point deadline,
                          std::string& failure) {
  Resolved resolved = resolve(address, port, deadline);
  failure = std::move(resolved.failure);
  for (const addrinfo* to = resolved.addresses.get(); to != nullptr; to = to->ai_next) {
    FileDescriptor socket = open_socket(to->ai_family);
    const int error =
        socket.valid() ? try_connect(socket.get(), *to, std::min(deadline, Clock::now() + kConnectTimeout)) : errno;
    if (error == 0) {
      set_options(socket.get());
      return socket;
    }
    failure = text_of(error);
  }
  return {};
}

std::vector<std::string> addresses_of(const std::string& host, Clock::time_point deadline, std::string& failure) {
  Resolved resolved = resolve(host, 0, deadline);
  failure = std::move(resolved.failure);
  std::vector<std::string> numbers;
  for (const addrinfo* at = resolved.addresses.get(); at != nullptr; at = at->ai_next) {
    char number[NI_MAXHOST];
    if (::getnameinfo(at->ai_addr, at->ai_addrlen, number, sizeof(number), nullptr, 0, NI_NUMERICHOST) == 0) {
      numbers.emplace_back(number);
    }
  }
  return numbers;
}

FileDescriptor accept_from(int listener, std::string& origin) {
  sockaddr_storage peer{};
  socklen_t bytes = sizeof(peer);
  FileDescriptor socket(::accept4(listener, reinterpret_cast<sockaddr*>(&peer), &bytes, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) return socket;
  set_options(socket.get());
  char host[NI_MAXHOST] = "?";
  char service[NI_MAXSERV] = "?";
  ::getnameinfo(reinterpret_cast<const sockaddr*>(&peer), bytes, host, sizeof(host), service, sizeof(service),
                NI_NUMERICHOST | NI_NUMERICSERV);
  origin = diagnostics::format("{} port {}", host, service);
  return socket;
}

std::pair<FileDescriptor, std::uint16_t> reserve_loopback_port() {
  FileDescriptor socket = open_socket(AF_INET);
  if (!socket.valid()) throw Error(ErrorCode::out_of_memory, diagnostics::format("no socket: {}", text_of(errno)));
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);  // so that the rank that listens may bind it too
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    throw Error(ErrorCode::unsupported, diagnostics::format("no port of 127.0.0.1: {}", text_of(errno)));
  }
  return {std::move(socket), ntohs(address.sin_port)};
}

std::pair<FileDescriptor, FileDescriptor> make_socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    throw Error(ErrorCode::out_of_memory, diagnostics::format("no pair of sockets: {}", text_of(errno)));
  }
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

}  // namespace railyard::bootstrap
