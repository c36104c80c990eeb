// SPDX-License-Identifier: Apache-2.0
// Worlds of processes: how they begin, and what they refuse. (Their operations: tests/multi_rank.)
#include "unit/bootstrap/tcp_ranks.hpp"

#include <railyard/exchange.hpp>

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace railyard {
namespace {

using bootstrap::error_of;
using bootstrap::ReservedPort;
using bootstrap::run_processes;
using bootstrap::run_threads;
using namespace std::chrono_literals;

Rendezvous at(const ReservedPort& port, int rank, int size) {
  return {.rank = rank, .size = size, .address = "127.0.0.1", .port = port.number()};
}

// One dispatch of rank + 1 to every rank: what came from rank r is r + 1.
bool exchanges(Rank& rank) {
  const int size = rank.world_size();
  Group group(rank, {.num_experts = size, .max_top_k = size, .max_tokens = 1, .hidden = 8, .row_dtype = DType::fp32});
  const std::vector<float> x(8, static_cast<float>(rank.index() + 1));
  std::vector<std::int32_t> ids;
  for (int expert = 0; expert < size; ++expert) ids.push_back(expert);
  const Dispatched in = group.dispatch(ConstTensorView(x.data(), DType::fp32, {1, 8}),
                                       ConstTensorView(ids.data(), DType::int32, {1, size}));
  bool right = in.route.num_rows() == size;
  for (int source = 0; source < size; ++source) {
    right = right && in.rows.as<float>()[static_cast<std::size_t>(source) * 8] == static_cast<float>(source + 1);
  }
  return right;
}

TEST(ProcessWorld, ConnectsAndExchangesInSeveralRuns) {
  const ReservedPort port;
  run_processes(3, [&](int index) {
    World world = World::connect(at(port, index, 3), {.timeout = 20s});
    if (world.size() != 3) return 1;
    int right = 0;
    for (int run = 0; run < 2; ++run) world.run([&](Rank& rank) { right += exchanges(rank) ? 1 : 0; });
    return right == 2 ? 0 : 2;
  });
}

TEST(ProcessWorld, FromTheLaunchersVariables) {
  const ReservedPort port;
  run_processes(2, [&](int index) {
    ::setenv("RANK", std::to_string(index).c_str(), 1);
    ::setenv("WORLD_SIZE", "2", 1);
    ::setenv("LOCAL_RANK", std::to_string(index).c_str(), 1);
    ::setenv("MASTER_ADDR", "127.0.0.1", 1);
    ::setenv("MASTER_PORT", std::to_string(port.number() - 1).c_str(), 1);
    ::setenv("RAILYARD_SECRET", "of both", 1);
    bool right = false;
    World::from_environment({.timeout = 20s}).run([&](Rank& rank) { right = exchanges(rank); });
    return right ? 0 : 1;
  });
  for (const char* variable : {"RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"}) ::unsetenv(variable);
  EXPECT_NE(error_of([] { static_cast<void>(World::from_environment()); }).find("RY-ENVIRONMENT: none of RANK"),
            std::string::npos);
}

TEST(ProcessWorld, ThroughACallersAllGather) {
  EXPECT_EQ(error_of([] { static_cast<void>(World::from_all_gather(1, 1, [](const void*, void*, std::size_t) {})); }),
            "RY-INVALID-ARGUMENT: rank 1 of a world of 1 ranks; a rank is in [0, size)");
  EXPECT_NE(error_of([] { static_cast<void>(World::from_all_gather(0, 1, nullptr)); }).find("RY-INVALID-ARGUMENT"),
            std::string::npos);
  EXPECT_THROW(static_cast<void>(World::from_all_gather(
                   0, 2, [](const void*, void*, std::size_t) { throw std::domain_error("no network"); })),
               std::domain_error);
  bool right = false;
  World::from_all_gather(0, 1, [](const void* mine, void* all, std::size_t bytes) {
    std::memcpy(all, mine, bytes);
  }).run([&](Rank& rank) { right = exchanges(rank); });
  EXPECT_TRUE(right);
}

TEST(ProcessWorld, AnotherSecretIsRefusedAndLogged) {
  const ReservedPort port;
  std::mutex mutex;
  std::string lines;
  run_threads(3, [&](int thread) {
    const bool stranger = thread == 2;
    Rendezvous rendezvous = at(port, stranger ? 1 : thread, 2);
    rendezvous.secret = stranger ? "that job" : "this job";
    WorldOptions options{.timeout = 20s};
    options.log = [&](LogLevel, std::string_view line) {
      const std::lock_guard lock(mutex);
      lines += line;
      throw std::runtime_error("a callback's bug");  // ends nothing
    };
    if (stranger) {
      EXPECT_NE(error_of([&] {
                  static_cast<void>(World::connect(rendezvous, options));
                }).find("does not know this job's secret"),
                std::string::npos);
      return;
    }
    if (thread == 1) {  // once the stranger has been there
      const auto deadline = std::chrono::steady_clock::now() + 20s;
      for (bool seen = false; !seen && std::chrono::steady_clock::now() < deadline;) {
        std::this_thread::sleep_for(5ms);
        const std::lock_guard lock(mutex);
        seen = !lines.empty();
      }
    }
    World::connect(rendezvous, options).run([](Rank& rank) { EXPECT_TRUE(exchanges(rank)); });
  });
  EXPECT_NE(lines.find("rendezvous: refused: rank 1 from 127.0.0.1"), std::string::npos) << lines;
  EXPECT_EQ(lines.find("this job"), lines.find("this job's secret")) << "no secret is logged: " << lines;
}

TEST(ProcessWorld, AFailureReachesTheOthersWithItsRank) {
  const ReservedPort port;
  run_processes(2, [&](int index) {
    World world = World::connect(at(port, index, 2), {.timeout = 20s});
    const std::string text = error_of([&] {
      world.run([&](Rank& rank) {
        if (index == 1) throw std::runtime_error("a bug");
        rank.barrier();
      });
    });
    const char* const expected =
        index == 1 ? "RY-RANK-FAILED: rank 1 failed: a bug" : "rank 1: RY-RANK-FAILED: rank 1 failed: a bug";
    if (text.find(expected) != std::string::npos) return 0;
    std::fprintf(stderr, "got \"%s\"\n", text.c_str());
    return 1;
  });
}

// While it lives, a limit of this process.
class Limit {
 public:
  Limit(decltype(RLIMIT_AS) resource, std::size_t bytes) : resource_(resource) {
    ::getrlimit(resource_, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(resource_, &limit);
  }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;
  ~Limit() { ::setrlimit(resource_, &before_); }

 private:
  decltype(RLIMIT_AS) resource_;
  rlimit before_{};
};

// Two ranks make a group, rank 1 under a limit; each must be told what is expected of it, and go on together.
void expect_both_are_told(decltype(RLIMIT_AS) resource, std::size_t bytes, std::size_t heap_limit,
                          const char* text_of_zero, const char* text_of_one) {
  const ReservedPort port;
  run_processes(2, [&](int index) {
    World world = World::connect(at(port, index, 2), {.timeout = 20s});
    std::string text;
    bool right = false;
    world.run([&](Rank& rank) {
      text = error_of([&] {
        std::optional<Limit> limit;
        if (index == 1) limit.emplace(resource, bytes);
        Group group(
            rank,
            {.num_experts = 2, .max_top_k = 1, .hidden = 8, .heap_bytes = 1 << 20, .heap_limit_bytes = heap_limit});
      });
      right = exchanges(rank);
    });
    const char* const expected = index == 1 ? text_of_one : text_of_zero;
    if (right && text.starts_with("RY-OUT-OF-MEMORY") && text.find(expected) != std::string::npos) return 0;
    std::fprintf(stderr, "rank %d got \"%s\"\n", index, text.c_str());
    return 1;
  });
}

TEST(ProcessWorld, AHeapThatOneRankCannotHaveIsEveryonesError) {
  expect_both_are_told(RLIMIT_FSIZE, 4096, 0, "rank 1 could not allocate a heap of", "files may have 4096 bytes");
}

#if !defined(RAILYARD_SANITIZED)  // which need address space of their own
TEST(ProcessWorld, AHeapThatOneRankCannotMapIsEveryonesError) {
  constexpr std::size_t kLimit = std::size_t{4} << 30;
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const std::size_t own_heap_only = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + kLimit + kLimit / 2;
  expect_both_are_told(RLIMIT_AS, own_heap_only, kLimit, "rank 1 could not map the heaps of 2 ranks",
                       "cannot map 4294967296 bytes of a heap");
}
#endif

TEST(ProcessWorld, OneAfterAnotherAtTheSameAddress) {
  const ReservedPort port;
  run_processes(2, [&](int index) {
    for (int number = 0; number < 3; ++number) {
      World world = World::connect(at(port, index, 2), {.timeout = 20s});
      const std::string text = error_of([&] {
        world.run([&](Rank& rank) {
          if (!exchanges(rank)) throw std::runtime_error("wrong");
          if (number == 1 && index == 1) throw std::runtime_error("a bug");
          if (number == 1) rank.barrier();
        });
      });
      if (text.empty() != (number != 1)) return 1;
      if (index == 0) std::this_thread::sleep_for(100ms);  // rank 1 comes for the next world meanwhile
    }
    return 0;
  });
}

TEST(ProcessWorld, WhatCannotBeIsRefused) {
  const ReservedPort port;
  const auto refused = [&](const Rendezvous& rendezvous, WorldOptions options = {}) {
    return error_of([&] { static_cast<void>(World::connect(rendezvous, std::move(options))); });
  };
  EXPECT_EQ(refused(at(port, 2, 2)), "RY-INVALID-ARGUMENT: rank 2 of a world of 2 ranks; a rank is in [0, size)");
  EXPECT_EQ(refused(at(port, 0, 0)), "RY-INVALID-ARGUMENT: a world of 0 ranks; 1 to 4096 are supported");
  EXPECT_NE(refused({.rank = 0, .size = 1, .address = "127.0.0.1", .port = 0}).find("port"), std::string::npos);
  Rendezvous chatty = at(port, 0, 1);
  chatty.secret.assign(257, 'x');
  EXPECT_NE(refused(chatty).find("257 bytes; at most 256"), std::string::npos);
  EXPECT_NE(refused(at(port, 0, 1), {.devices = {{DeviceKind::cuda, 0}}}).find("RY-UNSUPPORTED"), std::string::npos);
  EXPECT_NE(refused(at(port, 1, 2), {.timeout = 30ms}).find("RY-TIMEOUT"), std::string::npos);
}

}  // namespace
}  // namespace railyard
