// SPDX-License-Identifier: Apache-2.0
// Ranks for the tests of the TCP bootstrap: threads with an end each, or forked processes.
#pragma once

#include "bootstrap/file_descriptor.hpp"
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/tcp_socket.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard::bootstrap {

using namespace std::chrono_literals;

/// A free port that stays free for these ranks.
class ReservedPort {
 public:
  [[nodiscard]] TcpRendezvous rendezvous(int rank, int size) const {
    return {.rank = rank, .size = size, .address = "127.0.0.1", .port = port_};
  }
  [[nodiscard]] std::uint16_t number() const { return port_; }

 private:
  std::pair<FileDescriptor, std::uint16_t> reserved_ = reserve_loopback_port();
  std::uint16_t port_ = reserved_.second;
};

/// `function(rank)` on a thread each.
inline void run_threads(int size, const std::function<void(int)>& function) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back([&function, rank] { function(rank); });
  for (std::thread& thread : threads) thread.join();
}

/// A world in one process: `function(end)` on a thread each. All ends are destroyed once all functions have returned.
inline void run_world(int size, const std::function<void(Bootstrap&)>& function) {
  const ReservedPort port;
  std::vector<std::shared_ptr<Bootstrap>> ends(static_cast<std::size_t>(size));
  run_threads(size, [&](int rank) {
    auto& end = ends[static_cast<std::size_t>(rank)];
    end = make_tcp_bootstrap(port.rendezvous(rank, size), 20s);
    function(*end);
  });
}

/// The text of the Error that `call` throws, or nothing.
inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// A child process that exits with `function()`'s result, 99 if that throws. Killed after a minute.
inline pid_t start_process(const std::function<int()>& function) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::alarm(60);
  int code = 99;
  try {
    code = function();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "child: %s\n", error.what());
  }
  std::fflush(nullptr);
  ::_exit(code);
}

/// Its exit code, or minus the signal that ended it.
inline int wait_for_process(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// `function(rank)` in a process each; every one must return 0.
inline void run_processes(int size, const std::function<int(int)>& function) {
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank)
    children.push_back(start_process([&function, rank] { return function(rank); }));
  for (int rank = 0; rank < size; ++rank) {
    EXPECT_EQ(wait_for_process(children[static_cast<std::size_t>(rank)]), 0) << "rank " << rank;
  }
}

}  // namespace railyard::bootstrap
