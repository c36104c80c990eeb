// SPDX-License-Identifier: Apache-2.0
// What the tests of wait statistics and of traces on GPUs share. Ranks are made late on the device, behind an operation
// of another group that has brought them together: how late threads are does not matter.
#pragma once

#include "device/cuda_ranks.hpp"
#include "multi_rank/backend.hpp"
#include "multi_rank/plain.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace railyard::multi_rank {

using namespace std::chrono_literals;

inline constexpr int kRanks = 3;
inline constexpr int kLate = 2;
inline constexpr auto kDelay = 2ms;
inline constexpr auto kSubmitted = 200ms;  // by then every rank has submitted its part
inline constexpr auto kAtLeast = 1500us;   // of it must be seen
inline constexpr auto kAtMost = 8ms;
inline constexpr auto kOnTime = 500us;  // nobody else is waited for as long

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

inline cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }

inline void delay(Stream stream, std::chrono::nanoseconds time) {
  device_tests::busy(static_cast<std::uint64_t>(time.count()), native(stream));
}

inline std::string text_of(const WaitTotals& totals) {
  return std::to_string(totals.count) + " waits, " + std::to_string(totals.total.count()) + " ns, longest " +
         std::to_string(totals.longest.count());
}

inline std::string text_of(const StageWaits& waits) {
  return "slot: " + text_of(waits.slot) + "; exchange: " + text_of(waits.exchange) +
         "; arrival: " + text_of(waits.arrival) + "; readers: " + text_of(waits.readers);
}

inline std::string text_of(const WaitStatistics& statistics) {
  std::string text = "\n    all: " + text_of(statistics.all);
  for (std::size_t peer = 0; peer < statistics.peers.size(); ++peer) {
    text += "\n    rank " + std::to_string(peer) + ": " + text_of(statistics.peers[peer]);
  }
  return text;
}

/// What a combine of a plain round reads and writes: y in the group's heap.
struct CombineBuffers {
  CombineBuffers(Group& group, Rank& rank, const PlainRound& plain, std::int64_t hidden, Stream stream)
      : y(group.allocate({plain.round.granted[static_cast<std::size_t>(rank.index())], hidden}, DType::bf16, stream)),
        out(rank.device(), static_cast<std::size_t>(rows(rank, plain) * hidden) * 2),
        view(out.data(), DType::bf16, {rows(rank, plain), hidden}, rank.device()) {
    upload(y, plain.round.combines.front().y[static_cast<std::size_t>(rank.index())].packed);
  }

  static std::int64_t rows(const Rank& rank, const PlainRound& plain) {
    return plain.round.rows[static_cast<std::size_t>(rank.index())];
  }

  const Tensor y;
  const Buffer out;
  const TensorView view;
};

class CudaTimes : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("RAILYARD_TEST_BACKEND", "cuda-threads", 0); }

  CudaTimes() { scenario_.options.heap_bytes = std::size_t{8} << 20; }

  // Processes that share a GPU run one after the other.
  static bool ranks_run_together() {
    return backend().name() == "cuda-threads" || backend().with_devices({}).devices.size() >= kRanks;
  }

  Scenario scenario_ = plain_scenario({.ranks = kRanks}, Mode::throughput);
};

/// Brings the ranks together on the device: what is submitted in the next kSubmitted begins everywhere within
/// microseconds, at kLate kDelay later.
class Start {
 public:
  Start(Rank& rank, const Scenario& scenario, const PlainRound& plain)
      : rank_(rank), input_(rank.device(), plain, rank.index()), group_(rank, options_of(scenario)) {}

  void operator()(Stream stream) {
    rank_.barrier();
    delay(stream, kSubmitted);
    static_cast<void>(group_.dispatch(input_.x.view, input_.ids.view, input_.options, stream));
    if (rank_.index() == kLate) delay(stream, kDelay);
  }

  static GroupOptions options_of(const Scenario& scenario) {
    GroupOptions options = scenario.options;
    options.num_sms = 4;
    return options;
  }

 private:
  Rank& rank_;
  PlainInput input_;
  Group group_;
};

}  // namespace railyard::multi_rank
