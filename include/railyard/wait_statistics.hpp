// SPDX-License-Identifier: Apache-2.0
// Whom a rank waited for, and how long: peers that come late apart from rows that take long.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace railyard {

/// Waits that did not find everything there. One that does is not counted, and costs nothing.
struct WaitTotals {
  std::uint64_t count = 0;
  std::chrono::nanoseconds total{0};
  std::chrono::nanoseconds longest{0};  // of one wait
};

/// The waits of an operation, as timeouts and traces name their stages. They follow each other, and each stage is
/// waited for at all ranks: whoever is late in one stage is charged there, and the next begins anew.
struct StageWaits {
  /// The peer has not finished the operation of this kind that is `max_in_flight` before.
  WaitTotals slot;
  /// The peer has not come to this operation: its counts and grant are not there. In low_latency mode, where rows go
  /// first, writing them is part of coming.
  WaitTotals exchange;
  /// The peer has come and its rows are not all here: the transfer. In low_latency mode what of it is left then.
  WaitTotals arrival;
  /// Combine: the peer has not read all that it reads from this rank.
  WaitTotals readers;
};

/// Counted since the group's creation, at this rank.
///
/// A peer is charged with the time from the start of a wait until this rank saw that the peer's part was there, or gave
/// up (RY-TIMEOUT, RY-ABORTED). Peers that were there at the first look are charged nothing; those waited for at once
/// are each charged with the whole of their time, so that sums over peers count it several times: `all` has every wait
/// once, until its last peer was seen. This rank looks again and again: for some microseconds at one peer, then at all
/// that are missing, after a while with pauses of up to a millisecond. What it oversleeps is the peer's too. Nothing is
/// said of a peer's reasons: it may itself have waited for a third.
///
/// On CUDA the waits are those of the kernels' first blocks, which look all the time, at all peers at once
/// (beyond 16 ranks at some after others: a late one may hide another). A peer's
/// part of an exchange is its counts, where there are any; `slot` is not waited for. Each operation measures in cycles
/// of its SM; what the group's dispatches took by the GPU's clock as well says how long a cycle is, on average. Sums
/// of an exchange are added once all have come, the others when an operation ends, also one that gave up; one that is
/// under way may be in some of the numbers only.
struct WaitStatistics {
  StageWaits all;
  std::vector<StageWaits> peers;  // [ranks]; one's own is zero
};

}  // namespace railyard
