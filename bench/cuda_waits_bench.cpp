// SPDX-License-Identifier: Apache-2.0
// What a rank that waits costs the GPU's other work: small copies and launches beside it, without the library around
// the kernels. Ranks share one GPU; rank 0 waits in a dispatch for the others.
#include "device/exchange.hpp"
#include "device/other_work.hpp"
#include "device/scenario.hpp"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <thread>

namespace railyard::device_tests {
namespace {

constexpr const char* kUsage =
    "usage: cuda_waits_bench [RANKS]\n"
    "\n"
    "RANKS, 2 to 8 (default 2), share the first GPU; rank 0 waits with 2 to 16 SMs. Median microseconds of a copy of\n"
    "8 bytes to pinned memory of the host and from it, of 64 kB to pageable memory, and of an empty kernel, each with\n"
    "the wait for its end.\n";

void print_row(const char* state, int blocks, OtherWork& other) {
  using Kind = OtherWork::Kind;
  std::printf("%-10s %4d", state, blocks);
  for (const Kind kind : {Kind::word_to_host, Kind::word_from_host, Kind::pageable_to_host, Kind::kernel}) {
    std::printf(" %12.1f", other.median_us(kind));
  }
  std::printf("\n");
  std::fflush(stdout);
}

int run(int num_ranks) {
  CudaRanks ranks({.num_ranks = num_ranks, .timeout_ns = 60'000'000'000});
  ranks.use(0);
  OtherWork other;
  Scenario scenario = random_scenario(3, num_ranks, {.max_tokens = 100, .max_blocks = 16, .only_plain = true});
  Exchange exchange(ranks, scenario);
  std::printf("%-10s %4s %12s %12s %12s %12s\n", "rank 0", "SMs", "8 B to host", "8 B from", "64 kB to", "kernel");
  print_row("is idle", 0, other);
  for (const int blocks : {2, 4, 8, 16}) {
    for (int rank = 0; rank < num_ranks; ++rank) exchange.rank(rank).dispatch.num_blocks = blocks;
    ranks.use(0);
    throughput::launch_dispatch(exchange.rank(0).dispatch);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    print_row("waits", blocks, other);
    for (int rank = 1; rank < num_ranks; ++rank) throughput::launch_dispatch(exchange.rank(rank).dispatch);
    ranks.synchronize();
    if (ranks[0].report->code != 0) {
      std::fprintf(stderr, "error: the dispatch failed\n");
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace railyard::device_tests

int main(int argc, char** argv) {
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  const std::string_view text = argc > 1 ? argv[1] : "2";
  if (text == "--help" || text == "-h") {
    std::fputs(railyard::device_tests::kUsage, stdout);
    return 0;
  }
  int ranks = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ranks);
  if (argc > 2 || error != std::errc() || end != text.data() + text.size() || ranks < 2 || ranks > 8) {
    std::fprintf(stderr, "error: RANKS is '%s'; it is 2 to 8\n%s", argv[argc - 1], railyard::device_tests::kUsage);
    return 2;
  }
  return railyard::device_tests::run(ranks);
}
