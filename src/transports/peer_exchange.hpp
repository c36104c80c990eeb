// SPDX-License-Identifier: Apache-2.0
// The protocol of one group over memory that all its ranks can load and store.
//
// Every operation of a kind has an epoch, equal on all ranks. With N = max_in_flight mailbox slots:
//
//   begin        the next epoch e and its slot
//   wait_slot    every peer has received e - N, so its mailboxes and wire slots of e - N may be written again
//   publish      notice and counts into the mailbox of every peer, then the epoch word         pair: mailbox.epoch
//   wait_notices the notices of all peers: the start barrier, and the grants
//   rows move    into granted blocks, or into wire slots
//   signal_arrival, wait_arrivals                                                              pair: dispatch.arrived
//   signal_received, wait_received                                                             pair: received
//
// Order. (1) Plain stores before `publish` or a signal are seen by whoever acquires its word: release on the word, in
// the storing thread; rows stored past the caches are fenced first (codecs::store_fence). (2) A mailbox or wire slot is
// rewritten only after its reader's `signal_received` of e - N was acquired: the reads come before. (3) A block is
// granted by the publish that follows its allocation; the last holder's release of the block comes before that
// allocation (the heap's lock), so no former holder still reads what a sender writes. (4) In combine, a rank's `y` is
// unchanged until `wait_received` of this epoch: the peers' reads come before.
#pragma once

#include "symmetric_memory/symmetric_heap.hpp"
#include "transports/control_layout.hpp"
#include "transports/wait.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace railyard::transports {

/// One operation under way at this rank.
struct Turn {
  Kind kind = Kind::dispatch;
  Operation operation = Operation::dispatch;
  std::uint64_t epoch = 0;
  int slot = 0;
};

struct PeerExchangeOptions {
  int num_experts = 0;
  int num_slots = 0;  // max_in_flight
  std::uint64_t first_epoch = 0;
  std::vector<int> peers = {};               // who takes part, ascending, this rank included; empty: all
  std::function<void(Stage)> at_stage = {};  // tests only
  std::shared_ptr<diagnostics::TraceTrack> trace = {};
};

/// Used by the rank's thread. Control memory is the first block of the heap, which is fresh: of ranks that take no part
/// it has zeros, which say no tokens, no capacity and no rows. They are never waited for or written to.
class PeerExchange {
 public:
  /// Local, but followed by a barrier before the first operation: the words start at `first_epoch`.
  PeerExchange(int rank, int num_ranks, std::shared_ptr<symmetric_memory::SymmetricHeap> heap,
               const PeerExchangeOptions& options, Waiter waiter);

  [[nodiscard]] static std::size_t control_bytes(int num_ranks, int num_experts, int num_slots);

  [[nodiscard]] Turn begin(Operation operation) noexcept;
  void wait_slot(const Turn& turn);
  /// `counts`: experts + ranks elements, or none.
  void publish(const Turn& turn, const Notice& notice, std::span<const std::int32_t> counts);
  /// Throws RY-OPERATION-MISMATCH naming the first peer whose descriptor differs, with both.
  void wait_notices(const Turn& turn, const Descriptor& own);
  [[nodiscard]] const Notice& notice(const Turn& turn, int source) const noexcept;
  [[nodiscard]] const std::int32_t* counts(const Turn& turn, int source) const noexcept;

  void signal_arrival(const Turn& turn);
  void wait_arrivals(const Turn& turn);

  void signal_received(const Turn& turn);
  void wait_received(const Turn& turn);

  /// Tells the trace and the tests' hook where this rank is.
  void enter(Stage stage, const Turn& turn) const {
    if (watched_) [[unlikely]]
      tell(stage, turn);
  }
  /// A receive part goes on in the stage that its send part had come to.
  void resume(Stage stage, const Turn& turn) const {
    if (watched_) [[unlikely]]
      tell_trace(stage, turn);
  }

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int num_ranks() const noexcept { return num_ranks_; }
  /// Who takes part, ascending.
  [[nodiscard]] const std::vector<int>& peers() const noexcept { return peers_; }
  /// After every epoch of this rank's.
  [[nodiscard]] std::uint64_t next_epoch() const noexcept { return std::max(next_[0].epoch, next_[1].epoch); }
  [[nodiscard]] symmetric_memory::Heap& heap() const noexcept { return heap_->own(); }
  [[nodiscard]] std::byte* base(int rank) const noexcept { return heap_->base(rank); }
  [[nodiscard]] Waiter& waiter() noexcept { return waiter_; }
  [[nodiscard]] const Waiter& waiter() const noexcept { return waiter_; }

 private:
  /// Calls `visit(peer)` for every peer, this rank first, so that ranks begin with different ones.
  template <typename Visit>
  void for_each_peer(Visit visit) const;
  /// The last that `source` has published here, in any slot: a slot by itself has that of num_slots operations before.
  [[nodiscard]] std::uint64_t latest_epoch(Kind kind, int source) const;
  void tell(Stage stage, const Turn& turn) const;
  void tell_trace(Stage stage, const Turn& turn) const;

  int rank_;
  int num_ranks_;
  std::vector<int> peers_;
  std::shared_ptr<symmetric_memory::SymmetricHeap> heap_;
  ControlLayout layout_;
  Lease control_;  // at offset 0 of every heap: its first block
  std::function<void(Stage)> at_stage_;
  std::shared_ptr<diagnostics::TraceTrack> trace_;
  bool watched_;  // by either
  Waiter waiter_;
  Turn next_[kNumKinds];
};

}  // namespace railyard::transports
