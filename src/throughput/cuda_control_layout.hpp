// SPDX-License-Identifier: Apache-2.0
// The control block of a CUDA group: at the same offset in the heap of every rank, written by peers while kernels run.
//
//   field          elements                                          written by   read by
//   mailboxes      [kind][slot][source] words (below), 64 bits each   the source   the owner
//   arrived        [source] 64-bit signal, one line each              the source   the owner   pair: dispatch.arrived
//   readers_done   [reader] 64-bit signal, one line each              the reader   the owner   pair: combine.read
//
// A mailbox word validates itself: the low 32 bits of the epoch in its upper half, 32 bits of value in its lower half.
// It is stored relaxed at system scope after a fence, and is there as soon as its tag is that of the epoch awaited;
// words of one mailbox may become visible in any order. A signal grows by exactly
// kCudaSignalStep per (source, operation), whatever the grid: blocks add shares that sum to it. Nothing is ever reset.
//
// A mailbox slot is used again `num_slots` operations of its kind later. By then its reader has signalled the earlier
// operation (arrived, readers_done), which every block does after its last look at the mailboxes, and the writer has
// waited for that signal at the end of that operation: no further gate is needed, with one slot or many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace railyard::throughput {

inline constexpr int kCudaMaxRanks = 64;
inline constexpr std::uint64_t kCudaSignalStep = 1U << 16;

enum class CudaKind : std::uint8_t { dispatch, combine };
inline constexpr int kCudaNumKinds = 2;

/// The words of one mailbox. A grant's own words come first; dispatches that make a route add the rest.
enum class MailboxWord : int {
  descriptor,   // what the source called; must be equal on all ranks
  code,         // railyard::ErrorCode: ok or heap_exhausted
  capacity,     // rows granted
  payload_low,  // of the payload block, or of combine's y: bytes from the heap's base
  payload_high,
  metadata_low,  // of the metadata block
  metadata_high,
  row_pitch,   // combine: bytes from one row of y to the next, in units of 16
  wanted_low,  // with heap_exhausted, bytes
  wanted_high,
  free_low,
  free_high,
  rows_needed,        // with heap_exhausted and a known route: rows that it brings here
  invalid_ids,        // ids outside [-1, experts) among the source's
  first_invalid_low,  // the first of them
  first_invalid_high,
  tokens,      // what the source's token count said, before it was clamped
  max_tokens,  // its limit
  counts,      // [ranks] rows that the source sends to each rank
};
inline constexpr int kGrantWords = static_cast<int>(MailboxWord::invalid_ids);

struct CudaControlLayout {
  static constexpr std::size_t kLine = 128;

  int num_ranks = 0;
  int num_slots = 0;
  std::size_t mailbox_bytes = 0;              // of one
  std::size_t mailboxes[kCudaNumKinds] = {};  // offsets from the start of the control block
  std::size_t arrived = 0;
  std::size_t readers_done = 0;
  std::size_t bytes = 0;

  /// `num_ranks` in [1, kCudaMaxRanks], `num_slots` >= 1 (the group's max_in_flight).
  [[nodiscard]] static constexpr CudaControlLayout of(int num_ranks, int num_slots) {
    CudaControlLayout layout;
    layout.num_ranks = num_ranks;
    layout.num_slots = num_slots;
    const auto ranks = static_cast<std::size_t>(num_ranks);
    const std::size_t words = static_cast<std::size_t>(MailboxWord::counts) + ranks;
    layout.mailbox_bytes = (words * sizeof(std::uint64_t) + kLine - 1) / kLine * kLine;
    for (std::size_t& offset : layout.mailboxes) {
      offset = layout.bytes;
      layout.bytes += static_cast<std::size_t>(num_slots) * ranks * layout.mailbox_bytes;
    }
    layout.arrived = layout.bytes;
    layout.bytes += ranks * kLine;
    layout.readers_done = layout.bytes;
    layout.bytes += ranks * kLine;
    return layout;
  }

  /// Byte offset of a mailbox from the start of the control block.
  [[nodiscard]] constexpr std::size_t mailbox(CudaKind kind, unsigned slot, int source) const {
    return mailboxes[static_cast<int>(kind)] +
           (static_cast<std::size_t>(slot) * static_cast<std::size_t>(num_ranks) + static_cast<std::size_t>(source)) *
               mailbox_bytes;
  }
  [[nodiscard]] constexpr std::size_t arrived_signal(int source) const {
    return arrived + static_cast<std::size_t>(source) * kLine;
  }
  [[nodiscard]] constexpr std::size_t readers_done_signal(int reader) const {
    return readers_done + static_cast<std::size_t>(reader) * kLine;
  }

  /// The block's contents before the first operation, which will have epoch `first_epoch` + 1: `bytes` / 8 words, to be
  /// copied to the control block of every rank before any rank launches.
  [[nodiscard]] std::vector<std::uint64_t> initial_words(std::uint64_t first_epoch) const;
};

}  // namespace railyard::throughput
