// SPDX-License-Identifier: Apache-2.0
// The eight ways in which one access is ordered after another across threads, GPUs and proxies. No other code waits or
// signals. docs/memory_model.md has the same arguments at length, with the PTX rules they rest on.
#pragma once

#include "device/bulk_copy.cuh"
#include "device/clock.cuh"
#include "device/memory.cuh"
#include "device/named_barrier.cuh"
#include "device/wait.cuh"

#include <cstdint>

namespace railyard::device {

/// Chain 1, bulk write -> peer signal; with it chain 5 for generic writes of the same threads. The block's threads
/// [0, num_threads), whole warps. wait_group 0 (never .read) makes each issuing thread's bulk stores visible to it and
/// ordered before what it does next, in the generic proxy too; the barrier brings all threads' writes before the
/// signalling threads; fence.acq_rel.sys is cumulative over them; the addition comes after. `word_of(peer)` is a 64-bit
/// signal in that peer's memory, or null for a peer that is not told.
template <class WordOf>
__device__ __forceinline__ void writes_to_peer_signals(int num_threads, int num_peers, std::uint64_t share,
                                                       WordOf word_of) {
  bulk_wait_written();
  debug_delay();
  synchronize(NamedBarrier::signals, num_threads);
  const int peer = static_cast<int>(threadIdx.x);
  std::uint64_t* const word = peer < num_peers ? word_of(peer) : nullptr;
  if (word != nullptr) {
    fence_acquire_release_system();
    add_relaxed_system(word, share);
  }
}

/// Chain 2, peer signal -> bulk read. All threads of the block, after the waits: some threads acquired, the barrier
/// hands that to all, and the issuing thread's full proxy fence puts its bulk loads after what it now knows of.
__device__ __forceinline__ void peer_signals_to_bulk_reads() {
  __syncthreads();
  debug_delay();
  fence_proxy_async();
}

/// Chain 3, generic write -> bulk read of shared memory, within a warp: each writer fences, the warp barrier follows,
/// any lane may issue.
__device__ __forceinline__ void shared_writes_to_bulk_reads() {
  fence_proxy_async_shared();
  debug_delay();
  __syncwarp();
}

/// Chain 4, peer signal -> generic read. One thread; the load acquires, so what the peer wrote before its release is
/// visible here, and after a CTA barrier to the block. `waited` as in wait_until.
__device__ __forceinline__ bool wait_for_signal(const WaitScope& scope, Stage stage, int peer,
                                                const std::uint64_t* word, std::uint64_t value, float& waited) {
  return wait_until(scope, WaitSite{stage, peer, value}, waited, [&](std::uint64_t& seen) {
    seen = load_acquire_system(word);
    return static_cast<std::int64_t>(seen - value) >= 0;
  });
}

/// The same for a mailbox word, whose upper half is the tag. `value`: its lower half. Tags are compared for equality:
/// nobody writes an operation's word again before all have read it, and a word that many operations left unwritten, an
/// old one, may be on either side of the tag.
__device__ __forceinline__ bool wait_for_word(const WaitScope& scope, int source, const std::uint64_t* word,
                                              std::uint32_t tag, std::uint32_t& value, float& waited) {
  return wait_until(scope, WaitSite{Stage::exchange, source, tag}, waited, [&](std::uint64_t& seen) {
    const std::uint64_t both = load_acquire_system(word);
    seen = both >> 32;
    value = static_cast<std::uint32_t>(both);
    return static_cast<std::uint32_t>(seen) == tag;
  });
}

/// Chain 5, generic write -> peer signal, where the signal is a mailbox word. In the storing thread, before
/// `store_word`: the fence is cumulative over what this thread wrote, saw at a barrier, or what earlier kernels of its
/// stream did, so it also carries chain 7's releasing side: whoever held the memory that is granted has finished.
__device__ __forceinline__ void writes_to_peer_words() {
  debug_delay();
  fence_acquire_release_system();
}

/// The same towards the blocks of this grid alone.
__device__ __forceinline__ void writes_to_own_words() {
  debug_delay();
  fence_acquire_release_device();
}

/// Relaxed: nothing but the word itself is promised, except what a writes_to_peer_words before it brought along.
__device__ __forceinline__ void store_word(std::uint64_t* word, std::uint32_t tag, std::uint32_t value) {
  store_relaxed_system(word, static_cast<std::uint64_t>(tag) << 32 | value);
}

/// Chain 6, read done -> peer may overwrite. All threads of the block. Bulk loads have completed on their mbarriers,
/// observed by the threads that used them; the barrier brings these before the signalling threads, whose fence orders
/// them before the addition. Generic writes of the block are released as well.
template <class WordOf>
__device__ __forceinline__ void reads_to_peer_signals(int num_peers, std::uint64_t share, WordOf word_of) {
  debug_delay();
  __syncthreads();
  const int peer = static_cast<int>(threadIdx.x);
  std::uint64_t* const word = peer < num_peers ? word_of(peer) : nullptr;
  if (word != nullptr) {
    fence_acquire_release_system();
    add_relaxed_system(word, share);
  }
}

/// Chain 7, peer grant -> bulk write. All threads of the block, after the grants were acquired: as chain 2. The
/// granting side's half of the argument is at writes_to_peer_words.
__device__ __forceinline__ void peer_grants_to_bulk_writes() {
  __syncthreads();
  debug_delay();
  fence_proxy_async();
}

/// Chain 8, blocks of one grid -> all blocks. The writing block: a barrier of its writers, then writes_to_own_words and
/// store_word in the storing threads, which release what the block wrote at device scope. The others: this wait, then a
/// CTA barrier. Words of one launch have one tag: it is compared for equality, since nobody else writes them.
__device__ __forceinline__ bool wait_for_own_word(const WaitScope& scope, int rank, const std::uint64_t* word,
                                                  std::uint32_t tag, std::uint32_t& value) {
  float waited = 0;  // for this rank's own blocks: nobody asks
  return wait_until(scope, WaitSite{Stage::exchange, rank, tag}, waited, [&](std::uint64_t& seen) {
    const std::uint64_t both = load_acquire_device(word);
    seen = both >> 32;
    value = static_cast<std::uint32_t>(both);
    return static_cast<std::uint32_t>(seen) == tag;
  });
}

}  // namespace railyard::device
