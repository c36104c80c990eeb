// SPDX-License-Identifier: Apache-2.0
// Kernels that find what links, memory and flags can do at best.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <string_view>

namespace railyard::cli::bench {

enum class CopyMethod : std::uint8_t {
  bulk,    // bulk copies through shared memory, one issuing thread per SM
  vector,  // 16-byte loads and stores of all threads
};
[[nodiscard]] std::string_view name(CopyMethod method) noexcept;

/// Copies `bytes`, a multiple of 16, on so many SMs of the current device; either end may be a peer's.
void copy_on_sms(cudaStream_t stream, void* to, const void* from, std::int64_t bytes, int sms, CopyMethod method);

/// One of two sides that answer each other's flags.
struct PingPongSide {
  std::uint64_t* own = nullptr;   // in this side's memory, zero at first
  std::uint64_t* peer = nullptr;  // the other side's
};

struct PingPong {
  std::array<PingPongSide, 2> sides;
  std::uint64_t first_round = 1;  // value of the first flag; goes on where the last launch ended
  int rounds = 0;
  std::uint64_t* elapsed_ns = nullptr;  // written by side 0; all ones if the other side did not answer in a second
};

/// Runs side `side` on the current device, or both sides as two blocks.
void launch_ping_pong_side(cudaStream_t stream, const PingPong& game, int side);
void launch_ping_pong_blocks(cudaStream_t stream, const PingPong& game);

}  // namespace railyard::cli::bench
