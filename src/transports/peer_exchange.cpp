// SPDX-License-Identifier: Apache-2.0
#include "transports/peer_exchange.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <numeric>
#include <utility>

namespace railyard::transports {

std::size_t PeerExchange::control_bytes(int num_ranks, int num_experts, int num_slots) {
  return ControlLayout::of(num_ranks, num_experts, num_slots).bytes;
}

PeerExchange::PeerExchange(int rank, int num_ranks, std::shared_ptr<symmetric_memory::SymmetricHeap> heap,
                           const PeerExchangeOptions& options, Waiter waiter)
    : rank_(rank),
      num_ranks_(num_ranks),
      peers_(options.peers),
      heap_(std::move(heap)),
      layout_(ControlLayout::of(num_ranks, options.num_experts, options.num_slots)),
      at_stage_(options.at_stage),
      trace_(options.trace),
      watched_(at_stage_ || trace_),
      waiter_(std::move(waiter)) {
  if (peers_.empty()) {
    peers_.resize(static_cast<std::size_t>(num_ranks));
    std::iota(peers_.begin(), peers_.end(), 0);
  }
  waiter_.set_trace(trace_);
  waiter_.set_peers(peers_);
  control_ = heap_->own().allocate(layout_.bytes);
  if (!control_ || control_.state()->offset() != 0) {
    throw Error(ErrorCode::heap_exhausted,
                diagnostics::format("a heap of {} bytes has no room for {} bytes of control memory",
                                    heap_->own().usage().bytes, layout_.bytes));
  }
  for (int kind = 0; kind < kNumKinds; ++kind) {
    next_[kind] = {.kind = static_cast<Kind>(kind), .epoch = options.first_epoch + 1};
    for (const int peer : peers_) {
      layout_.received_word(base(rank), static_cast<Kind>(kind), peer) = options.first_epoch * kSignalStep;
      for (int slot = 0; slot < options.num_slots; ++slot) {
        layout_.mailbox(base(rank), static_cast<Kind>(kind), slot, peer).epoch = options.first_epoch;
      }
    }
  }
  for (const int source : peers_) {
    layout_.arrived_word(base(rank), source) = options.first_epoch * kSignalStep;
  }
}

template <typename Visit>
void PeerExchange::for_each_peer(Visit visit) const {
  const auto self = std::ranges::lower_bound(peers_, rank_);
  std::for_each(self, peers_.end(), visit);
  std::for_each(peers_.begin(), self, visit);
}

void PeerExchange::tell(Stage stage, const Turn& turn) const {
  tell_trace(stage, turn);  // first: what the hook delays is the stage's
  if (at_stage_) at_stage_(stage);
}

void PeerExchange::tell_trace(Stage stage, const Turn& turn) const {
  if (!trace_) return;
  const bool moves_rows = stage == Stage::write || stage == Stage::pull;
  trace_->enter(trace_row(stage), name(turn.operation), turn.epoch, moves_rows);
}

Turn PeerExchange::begin(Operation operation) noexcept {
  Turn& next = next_[static_cast<std::size_t>(kind_of(operation))];
  next.operation = operation;
  const Turn turn = next;
  ++next.epoch;
  if (++next.slot == layout_.num_slots) next.slot = 0;
  return turn;
}

void PeerExchange::wait_slot(const Turn& turn) {
  enter(Stage::slot, turn);
  const std::uint64_t reader_epoch = turn.epoch - static_cast<std::uint64_t>(layout_.num_slots);
  waiter_.wait_for_all({name(turn.operation), Stage::slot, turn.epoch}, reader_epoch * kSignalStep,  // pair: received
                       [&](int peer) -> std::uint64_t& { return layout_.received_word(base(rank_), turn.kind, peer); });
}

void PeerExchange::publish(const Turn& turn, const Notice& notice, std::span<const std::int32_t> counts) {
  enter(Stage::exchange, turn);
  for_each_peer([&](int peer) {
    Mailbox& mailbox = layout_.mailbox(base(peer), turn.kind, turn.slot, rank_);
    mailbox.notice = notice;
    std::copy(counts.begin(), counts.end(), mailbox.counts());
    Waiter::store_release(mailbox.epoch, turn.epoch);  // pair: mailbox.epoch
  });
}

void PeerExchange::wait_notices(const Turn& turn, const Descriptor& own) {
  waiter_.wait_for_all(
      {name(own.operation), Stage::exchange, turn.epoch}, turn.epoch,  // pair: mailbox.epoch
      [&](int source) -> std::uint64_t& { return layout_.mailbox(base(rank_), turn.kind, turn.slot, source).epoch; },
      [&](int source) { return latest_epoch(turn.kind, source); });
  for (const int source : peers_) {
    const Descriptor& other = notice(turn, source).descriptor;
    if (other != own) {
      throw Error(ErrorCode::operation_mismatch,
                  diagnostics::format("epoch {}: rank {} called {}, rank {} called {}", turn.epoch, rank_,
                                      describe(own), source, describe(other)));
    }
  }
}

std::uint64_t PeerExchange::latest_epoch(Kind kind, int source) const {
  std::uint64_t latest = 0;
  for (int slot = 0; slot < layout_.num_slots; ++slot) {
    const std::uint64_t epoch =
        Waiter::load_acquire(layout_.mailbox(base(rank_), kind, slot, source).epoch);  // pair: mailbox.epoch
    if (slot == 0 || Waiter::reached(epoch, latest)) latest = epoch;
  }
  return latest;
}

const Notice& PeerExchange::notice(const Turn& turn, int source) const noexcept {
  return layout_.mailbox(base(rank_), turn.kind, turn.slot, source).notice;
}

const std::int32_t* PeerExchange::counts(const Turn& turn, int source) const noexcept {
  return layout_.mailbox(base(rank_), turn.kind, turn.slot, source).counts();
}

void PeerExchange::signal_arrival(const Turn&) {
  for_each_peer([&](int peer) {
    Waiter::add_release(layout_.arrived_word(base(peer), rank_), kSignalStep);  // pair: dispatch.arrived
  });
}

void PeerExchange::wait_arrivals(const Turn& turn) {
  enter(Stage::arrival, turn);
  waiter_.wait_for_all({name(turn.operation), Stage::arrival, turn.epoch},
                       turn.epoch * kSignalStep,  // pair: dispatch.arrived
                       [&](int source) -> std::uint64_t& { return layout_.arrived_word(base(rank_), source); });
}

void PeerExchange::signal_received(const Turn& turn) {
  for_each_peer([&](int peer) {
    Waiter::add_release(layout_.received_word(base(peer), turn.kind, rank_), kSignalStep);  // pair: received
  });
}

void PeerExchange::wait_received(const Turn& turn) {
  enter(Stage::readers, turn);
  waiter_.wait_for_all({name(turn.operation), Stage::readers, turn.epoch},
                       turn.epoch * kSignalStep,  // pair: received
                       [&](int peer) -> std::uint64_t& { return layout_.received_word(base(rank_), turn.kind, peer); });
}

}  // namespace railyard::transports
