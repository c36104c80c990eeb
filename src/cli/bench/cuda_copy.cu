// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_copy.hpp"
#include "device/bulk_copy.cuh"
#include "device/clock.cuh"
#include "device/cuda_call.hpp"
#include "device/memory.cuh"

namespace railyard::cli::bench {
namespace {

using device::require_cuda;

constexpr int kStages = 12;
constexpr int kAhead = 8;  // loads in flight: a link's latency times an SM's rate; the other stages are being stored
constexpr int kTileBytes = 16384;
constexpr int kSharedBytes = kStages * kTileBytes;
constexpr int kVectorThreads = 1024;
constexpr int kUnroll = 4;
constexpr std::uint64_t kAnswerNs = 1'000'000'000;

/// One tile of this block, in the order in which it copies them.
struct Tile {
  std::int64_t offset;
  std::uint32_t bytes;
};

__device__ __forceinline__ Tile tile_of(std::int64_t index, std::int64_t bytes) {
  const std::int64_t offset = (index * gridDim.x + blockIdx.x) * kTileBytes;
  const std::int64_t left = bytes - offset;
  return {offset, left <= 0 ? 0U : static_cast<std::uint32_t>(left < kTileBytes ? left : kTileBytes)};
}

/// One thread per block: loads run ahead by kAhead tiles; a stage is loaded again once its store has read it. Ends when
/// all stores have been performed.
__global__ void __launch_bounds__(32) copy_in_bulk(char* to, const char* from, std::int64_t bytes) {
  extern __shared__ __align__(128) char stages[];
  __shared__ std::uint64_t loaded[kStages];
  if (threadIdx.x != 0) return;
  for (std::uint64_t& barrier : loaded) device::barrier_init(&barrier);
  device::fence_barrier_init();
  const auto load = [&](std::int64_t index) {
    const Tile tile = tile_of(index, bytes);
    if (tile.bytes == 0) return;
    const int stage = static_cast<int>(index % kStages);
    device::barrier_arrive_expecting(&loaded[stage], tile.bytes);
    device::bulk_load(stages + stage * kTileBytes, from + tile.offset, tile.bytes, &loaded[stage]);
  };
  for (int index = 0; index < kAhead; ++index) load(index);
  for (std::int64_t index = 0;; ++index) {
    const Tile tile = tile_of(index, bytes);
    if (tile.bytes == 0) break;
    device::bulk_wait_read<kStages - kAhead - 1>();
    load(index + kAhead);
    const int stage = static_cast<int>(index % kStages);
    device::barrier_wait(&loaded[stage], static_cast<std::uint32_t>(index / kStages & 1));
    device::bulk_store(to + tile.offset, stages + stage * kTileBytes, tile.bytes);
    device::bulk_commit();
  }
  device::bulk_wait_written();
}

/// All threads: 16 bytes each, kUnroll of them in flight, neighbours next to each other.
__global__ void __launch_bounds__(kVectorThreads) copy_by_vectors(uint4* to, const uint4* from, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kVectorThreads;
  std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kVectorThreads + threadIdx.x;
  for (; i + (kUnroll - 1) * step < count; i += kUnroll * step) {
    uint4 values[kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) values[j] = device::load_streaming(from + i + j * step);
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) device::store_streaming(to + i + j * step, values[j]);
  }
  for (; i < count; i += step) device::store_streaming(to + i, device::load_streaming(from + i));
}

/// Waits until the flag has reached `value`; false after kAnswerNs.
__device__ bool answered(const std::uint64_t* flag, std::uint64_t value) {
  const std::uint64_t start = device::global_time_ns();
  while (true) {
    for (int poll = 0; poll < 1000; ++poll) {
      if (device::load_acquire_system(flag) >= value) return true;  // pair: bench.ping_pong
    }
    if (device::global_time_ns() - start > kAnswerNs) return false;
  }
}

/// Side 0 raises the other's flag and waits for its own; side 1 waits and answers. The first quarter of the rounds is
/// not timed: the sides may start at different times.
__global__ void ping_pong(const __grid_constant__ PingPong game, int first_side) {
  const int side = first_side + static_cast<int>(blockIdx.x);
  const PingPongSide words = game.sides[side];
  std::uint64_t start = 0;
  for (int round = 0; round < game.rounds; ++round) {
    const std::uint64_t value = game.first_round + static_cast<std::uint64_t>(round);
    if (round == game.rounds / 4) start = device::global_time_ns();
    if (side == 0) device::store_release_system(words.peer, value);  // pair: bench.ping_pong
    if (!answered(words.own, value)) {
      if (side == 0) *game.elapsed_ns = ~std::uint64_t{0};
      return;
    }
    if (side == 1) device::store_release_system(words.peer, value);  // pair: bench.ping_pong
  }
  if (side == 0) *game.elapsed_ns = device::global_time_ns() - start;
}

}  // namespace

std::string_view name(CopyMethod method) noexcept { return method == CopyMethod::bulk ? "bulk" : "vector"; }

void copy_on_sms(cudaStream_t stream, void* to, const void* from, std::int64_t bytes, int sms, CopyMethod method) {
  const auto blocks = static_cast<unsigned>(sms);
  if (method == CopyMethod::bulk) {
    require_cuda(cudaFuncSetAttribute(copy_in_bulk, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
                 "shared memory of a copy");
    copy_in_bulk<<<blocks, 32, kSharedBytes, stream>>>(static_cast<char*>(to), static_cast<const char*>(from), bytes);
  } else {
    copy_by_vectors<<<blocks, kVectorThreads, 0, stream>>>(static_cast<uint4*>(to), static_cast<const uint4*>(from),
                                                           bytes / 16);
  }
  require_cuda(cudaGetLastError(), "a copy on SMs");
}

void launch_ping_pong_side(cudaStream_t stream, const PingPong& game, int side) {
  ping_pong<<<1, 1, 0, stream>>>(game, side);
  require_cuda(cudaGetLastError(), "a flag's way");
}

void launch_ping_pong_blocks(cudaStream_t stream, const PingPong& game) {
  ping_pong<<<2, 1, 0, stream>>>(game, 0);
  require_cuda(cudaGetLastError(), "a flag's way");
}

}  // namespace railyard::cli::bench
