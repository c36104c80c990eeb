// SPDX-License-Identifier: Apache-2.0
// How long a flag is on its way.
#include "cli/bench/cuda_copy.hpp"
#include "cli/bench/cuda_link.hpp"
#include "cli/bench/cuda_resources.hpp"
#include "device/cuda_call.hpp"

#include <railyard/error.hpp>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;
using device::UseDevice;

constexpr int kRounds = 400;  // in one sample; the first quarter is not timed
constexpr std::size_t kLine = 256;

}  // namespace

FlagLatency measure_cuda_flag(const std::vector<int>& devices, int samples) {
  const bool two = devices.size() > 1;
  const std::vector<int> sides{devices.front(), two ? devices[1] : devices.front()};
  if (two) {
    allow_peer_access(sides);
  }
  const RankStreams streams(sides);
  std::vector<DeviceMemory> memory;
  std::vector<std::uint64_t*> words;
  for (const int side : sides) {
    const UseDevice use(side);
    memory.emplace_back(side, 2 * kLine);  // the flag, and side 0's result
    require_cuda(cudaMemset(memory.back().data(), 0, 2 * kLine), "clearing flags");
    require_cuda(cudaDeviceSynchronize(), "clearing flags");
    words.push_back(static_cast<std::uint64_t*>(static_cast<void*>(memory.back().data())));
  }
  PingPong game{.sides = {PingPongSide{words[0], words[1]}, PingPongSide{words[1], words[0]}},
                .first_round = 1,
                .rounds = kRounds,
                .elapsed_ns = words[0] + kLine / sizeof(std::uint64_t)};
  std::vector<double> microseconds;
  for (int sample = 0; sample <= samples; ++sample, game.first_round += kRounds) {
    const UseDevice use(sides[0]);
    if (two) {
      launch_ping_pong_side(streams[0], game, 0);
      const UseDevice other(sides[1]);
      launch_ping_pong_side(streams[1], game, 1);
    } else {
      launch_ping_pong_blocks(streams[0], game);
    }
    require_cuda(cudaStreamSynchronize(streams[0]), "a flag's way");
    require_cuda(cudaStreamSynchronize(streams[1]), "a flag's way");
    std::uint64_t elapsed = 0;
    require_cuda(cudaMemcpy(&elapsed, game.elapsed_ns, sizeof(elapsed), cudaMemcpyDeviceToHost), "a flag's time");
    if (elapsed == ~std::uint64_t{0}) {
      throw Error(ErrorCode::timeout, "a flag between GPUs did not arrive within a second");
    }
    if (sample > 0) {  // the first is a warm-up
      microseconds.push_back(static_cast<double>(elapsed) * 1e-3 / (2.0 * (kRounds - kRounds / 4)));
    }
  }
  const Series series(std::move(microseconds));
  return {series.median(), series.p99(), true};
}

}  // namespace railyard::cli::bench
