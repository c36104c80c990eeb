// SPDX-License-Identifier: Apache-2.0
// How waits on the device end, as host and device both see it: who waited for what, and when to stop.
#pragma once

#include <cstdint>

namespace railyard::device {

enum class Operation : std::uint32_t { none, route, dispatch, routed_dispatch, combine };
enum class Stage : std::uint32_t { none, exchange, arrival, readers };

/// Pinned host memory that the device reads while it waits (one thread for all: WaitState); the host may write it at
/// any time.
struct HostControl {
  std::uint64_t timeout_ns = 0;  // of every wait, from the moment it began; 0: no limit
  std::uint64_t warn_ns = 0;     // after which a wait says whom it misses; 0: never
  std::uint32_t abort = 0;       // nonzero ends running and later waits
  std::uint32_t unused = 0;
};

/// A peer that waits miss since HostControl::warn_ns, or ended without; pinned host memory. Any of the threads that
/// wait for it writes this, `stage` last, after a system fence, and whoever has waited so long clears `stage` when it
/// comes.
struct MissingPeer {
  Stage stage = Stage::none;  // none: it is not missing
  Operation operation = Operation::none;
  std::uint64_t epoch = 0;
  std::uint64_t expected = 0;  // as in WaitReport
  std::uint64_t seen = 0;
};
inline constexpr int kMaxPeers = 64;

/// Pinned host memory, written once by the first wait of the group that ended without its peer; `code` last, after a
/// system fence: a railyard::ErrorCode, one of timeout, aborted, operation_mismatch (then `expected` and `seen` are
/// descriptors), in_flight (two launches at once, no peer is to blame). `missing` is complete when the kernel has
/// ended.
struct WaitReport {
  std::uint32_t code = 0;  // 0: nothing happened
  Operation operation = Operation::none;
  Stage stage = Stage::none;
  std::int32_t peer = -1;
  std::uint64_t epoch = 0;
  std::uint64_t expected = 0;      // exchange: the tag (low 32 bits of the epoch); signals: the value awaited
  std::uint64_t seen = 0;          // the tag or signal that was there instead
  std::uint32_t refused = 0;       // 1: a launch found the failure, its own blocks' perhaps, and ended at once
  MissingPeer missing[kMaxPeers];  // [rank]; this one too, where its blocks wait for each other
};

/// Device memory of one rank, zeros before a group's first operation: what the group's waits share. Thousands of
/// threads may wait, and what they read of the host's memory holds up the copies and launches of this GPU: one of them
/// reads HostControl for all, every kLookAtHostEveryNs.
struct alignas(128) WaitState {
  std::uint32_t failed = 0;         // set once; later launches of the group end at once
  std::uint32_t abort = 0;          // HostControl as it was,
  std::uint64_t timeout_ns = 0;     //
  std::uint64_t warn_ns = 0;        //
  std::uint64_t looked_ns = 0;      // at this time of the device's clock; written last
  std::uint64_t next_look_ns = 0;   // whoever moves it on reads HostControl
  std::uint32_t told[kMaxPeers]{};  // [rank] 1: WaitReport::missing says that it is missing
};
inline constexpr std::uint64_t kLookAtHostEveryNs = 100'000;

}  // namespace railyard::device
