// SPDX-License-Identifier: Apache-2.0
// What one measurement works on: a group per rank, and inputs and outputs in several slots, so that successive
// operations touch memory that has left the caches.
#pragma once

#include "cli/bench/buffer.hpp"
#include "cli/bench/expected.hpp"
#include "cli/bench/options.hpp"
#include "cli/compare.hpp"

#include <railyard/exchange.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace railyard::cli::bench {

/// What rows are when they are handed over, and what is done to them.
struct Payload {
  Codec codec = Codec::bf16;
  DType input = DType::bf16;
  bool quantise = false;  // encoded on the way; otherwise copied exactly

  /// Of the rows that the experts return.
  [[nodiscard]] DType output() const;
  /// Of one row, with its scales, on the way.
  [[nodiscard]] std::size_t wire_row_bytes(int hidden) const;
};

/// The payloads that a codec is measured with: rows that have its type already, and for FP8 also bf16 rows to quantise.
[[nodiscard]] std::vector<Payload> payloads_of(Codec codec);

/// Two if buffers are reused. Else so many that the inputs alone, all ranks together, exceed the last-level cache, and
/// with the received rows twice; but no more than exceed it eight times, where rows are much more than inputs.
[[nodiscard]] int count_slots(const Options& options, const Payload& payload, int tokens);

/// Everything but the tensors is the host's. Of a rank in another process only the choices are there.
struct Slot {
  Choices choices;
  Buffer x;
  Buffer scales;  // empty unless x is quantised already
  Dispatched received;
  Route route;  // from `route` alone
  Tensor y;
  Buffer out;
  Delivery delivery;   // `received`, as the host reads it
  TensorView y_image;  // `y`, the same
};

/// What the operations are given.
struct Arguments {
  ConstTensorView x;
  ConstTensorView scales;
  ConstTensorView ids;
  ConstTensorView weights;
  TensorView out;
};

/// How a session's groups are made.
struct SessionPlan {
  DeviceKind device = DeviceKind::host;
  int num_sms = 0;
  int spare_leases = 2;  // dispatches that are held beside one per slot
};

class Session {
 public:
  /// Collective over a fresh use of `world`; keeps references to it and to the options.
  /// Throws Error{out_of_memory} if the slots do not fit into the memory that is available.
  Session(World& world, const Options& options, const Payload& payload, int tokens, int slots, SessionPlan plan = {});
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const Payload& payload() const noexcept { return payload_; }
  [[nodiscard]] const Placement& placement() const noexcept { return placement_; }
  [[nodiscard]] World& world() noexcept { return world_; }
  [[nodiscard]] int tokens() const noexcept { return tokens_; }
  [[nodiscard]] int num_slots() const noexcept { return num_slots_; }
  [[nodiscard]] std::int64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] Group& group(int rank) { return *groups_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] Slot& slot(int rank, int slot) {
    return slots_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(slot)];
  }
  [[nodiscard]] const Slot& slot(int rank, int slot) const {
    return slots_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(slot)];
  }
  /// All ranks' choices in one slot.
  [[nodiscard]] std::vector<const Choices*> choices(int slot) const;
  /// How rows of any rank are made; scales: of rows that are quantised already.
  [[nodiscard]] TensorOf tensor_of(Content content, int rank, int slot) const;

  // The operations, each called by all ranks in their threads. What `slot` held before is the caller's to release.
  void release(int rank, int slot);
  void dispatch(int rank, int slot);
  void dispatch_along_route(int rank, int slot);
  void route(int rank, int slot);
  void combine(int rank, int slot);
  /// The same without waiting for the end or looking at the status.
  [[nodiscard]] Dispatched start_dispatch(int rank, int slot);
  [[nodiscard]] Dispatched start_dispatch(int rank, int slot, const Route& route);
  [[nodiscard]] Combined start_combine(int rank, int slot);
  /// `y` of every slot: allocated from the heap, and filled where a row holds a token. After fetch_delivery.
  void make_expert_outputs(int rank);

  /// Brings `delivery` up to date with what the slot has received.
  virtual void fetch_delivery(int rank, int slot);
  /// Brings `out` up to date with what combine wrote.
  virtual void fetch_output(int /*rank*/, int /*slot*/) {}

 protected:
  [[nodiscard]] virtual Arguments arguments(int rank, int slot) const;
  [[nodiscard]] virtual Stream stream(int /*rank*/) const { return {}; }
  /// Memory to fill as `y`, and the filled one's way into `y`.
  [[nodiscard]] virtual TensorView begin_y(int rank, int slot);
  virtual void end_y(int /*rank*/, int /*slot*/) {}

 private:
  [[nodiscard]] GroupOptions group_options(const SessionPlan& plan) const;
  void fill(int rank);

  World& world_;
  const Options& options_;
  Payload payload_;
  Placement placement_;
  int tokens_;
  int num_slots_;
  std::int64_t capacity_ = 0;
  std::vector<std::optional<Group>> groups_;
  std::vector<std::vector<Slot>> slots_;  // [rank][slot]
};

}  // namespace railyard::cli::bench
