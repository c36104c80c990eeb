// SPDX-License-Identifier: Apache-2.0
// The control block of a group: the first block of every rank's heap, at the same offset on all of them.
//
//   field        elements                               written by            read by
//   mailboxes    [kind][slot][source] Mailbox + counts  the source            the owner
//   arrived      [source] 64-bit word                   the source            the owner
//   received     [kind][peer] 64-bit word               the peer              the owner
//
// `arrived` advances by kSignalStep per (source, dispatch): all rows of that source are in place. `received` advances
// by kSignalStep per (peer, operation): the peer has finished it, its mailboxes and (combine) this rank's rows are
// read. Each word and each mailbox has cache lines of its own.
#pragma once

#include "transports/descriptor.hpp"

#include <railyard/error.hpp>

#include <cstddef>
#include <cstdint>

namespace railyard::transports {

/// Dispatches (with routes) and combines are counted apart: each kind has its epochs, mailboxes and signals.
enum class Kind : std::uint8_t { dispatch, combine };
inline constexpr int kNumKinds = 2;
[[nodiscard]] constexpr Kind kind_of(Operation operation) noexcept {
  return operation == Operation::combine ? Kind::combine : Kind::dispatch;
}

/// A signal advances by this much per (source, operation), so that parts of an operation may add shares of it.
inline constexpr std::uint64_t kSignalStep = 1U << 16;

/// What a rank tells every other at the start of an operation.
struct Notice {
  Descriptor descriptor;
  ErrorCode code = ErrorCode::ok;     // heap_exhausted: no block could be granted
  std::int64_t capacity = 0;          // rows granted here (per expert in expert_slots); combine: rows of y
  std::uint64_t payload_offset = 0;   // of the granted payload block, or of y, in the sender's heap
  std::uint64_t metadata_offset = 0;  // of the granted metadata block, or of the row weights
  std::uint64_t row_pitch = 0;        // combine: bytes from one row of y to the next
  std::uint64_t wanted_bytes = 0;     // with heap_exhausted
  std::uint64_t free_bytes = 0;
  std::int64_t rows_needed = 0;  // rows that a known route brings here, or that combine reads from here
  std::int64_t invalid_ids = 0;  // ids outside [-1, experts) among this rank's
  std::int64_t first_invalid_id = 0;
};

/// `epoch` is stored last, with release. int32 counts follow: entries per expert [experts], rows per rank [ranks].
struct Mailbox {
  std::uint64_t epoch;
  Notice notice;

  [[nodiscard]] std::int32_t* counts() noexcept { return reinterpret_cast<std::int32_t*>(this + 1); }
  [[nodiscard]] const std::int32_t* counts() const noexcept { return reinterpret_cast<const std::int32_t*>(this + 1); }
};
static_assert(sizeof(Mailbox) % alignof(std::int32_t) == 0);

struct ControlLayout {
  static constexpr std::size_t kLine = 128;  // two cache lines: neighbours are prefetched together

  int num_ranks;
  int num_counts;  // experts + ranks
  int num_slots;
  std::size_t mailbox_bytes[kNumKinds];
  std::size_t mailboxes[kNumKinds];  // offsets
  std::size_t arrived;
  std::size_t received[kNumKinds];
  std::size_t bytes;

  [[nodiscard]] static ControlLayout of(int num_ranks, int num_experts, int num_slots);

  [[nodiscard]] Mailbox& mailbox(std::byte* base, Kind kind, int slot, int source) const noexcept;
  [[nodiscard]] std::uint64_t& arrived_word(std::byte* base, int source) const noexcept;
  [[nodiscard]] std::uint64_t& received_word(std::byte* base, Kind kind, int peer) const noexcept;
};

}  // namespace railyard::transports
