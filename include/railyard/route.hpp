// SPDX-License-Identifier: Apache-2.0
// What follows from the top-k ids of all ranks: counts, offsets and the row of every entry.
#pragma once

#include <railyard/error.hpp>
#include <railyard/export.hpp>
#include <railyard/tensor.hpp>
#include <railyard/types.hpp>

#include <cstdint>
#include <utility>

namespace railyard {

namespace routing {
class RouteState;
}

/// Where a received row comes from, as `Route::origins` holds it: 8 bytes. Rows that hold no token (padding, tail)
/// have token = rank = k = -1.
struct Origin {
  std::int32_t token = -1;  // index within its source rank
  std::int16_t rank = -1;   // source rank
  std::int16_t k = -1;      // position in the token's list; in rank_major the lowest one on this rank
  friend bool operator==(const Origin&, const Origin&) = default;
};

/// Immutable; owns its memory; copies share it. Valid until the last copy is gone, usable any number of times, in any
/// order, beside newer routes of the same group. All counts are after dropping and exclude padding; offsets include it.
/// A moved-from or default-constructed route throws RY-DESTROYED on use.
///
/// On CUDA the counts and the status are made by the device: num_tokens, the counts, num_rows, num_dropped and status
/// wait on the host for the operation that makes the route, and throw what `Event::synchronize` throws. Layout,
/// alignment, top_k, capacity and the tensors do not wait. For a route captured into a graph they tell, without
/// waiting, about the latest replay: call them from one thread, while no replay runs.
class RAILYARD_API Route {
 public:
  Route() = default;
  Route(const Route& other) noexcept;
  Route(Route&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Route& operator=(Route other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~Route();
  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

  [[nodiscard]] Layout layout() const;
  /// Group starts in expert_major are multiples of this many rows.
  [[nodiscard]] int alignment() const;
  /// Columns of the ids (or of the mask) that this route was made from.
  [[nodiscard]] int top_k() const;
  /// Rows granted at this rank: in all (rank_major, expert_major), per expert (expert_slots).
  [[nodiscard]] std::int64_t capacity() const;

  /// This rank as a source: its tokens, and the rows it sends.
  [[nodiscard]] std::int64_t num_tokens() const;
  /// Rows sent to each rank, int32 `[ranks]`: per (token, rank) in rank_major, per entry otherwise.
  [[nodiscard]] ConstTensorView send_counts() const;

  /// This rank as a destination. Rows that hold a token:
  [[nodiscard]] std::int64_t num_rows() const;
  /// Rows from each source rank, int32 `[ranks]`.
  [[nodiscard]] ConstTensorView receive_counts() const;
  /// Entries per local expert, int32 `[local experts]`. Also in rank_major; zero for routes made from a mask.
  [[nodiscard]] ConstTensorView expert_counts() const;
  /// The same where the rows are, int32 `[local experts]`, for a grouped GEMM: in stream order, without a wait. On the
  /// host the lease is empty, and the values live as long as the route.
  [[nodiscard]] Tensor device_expert_counts() const;
  /// First row of each local expert, int32 `[local experts + 1]`, the last one the end with padding. expert_major:
  /// group starts; expert_slots: multiples of the capacity; rank_major: all zero.
  [[nodiscard]] ConstTensorView expert_offsets() const;
  /// Local expert ids of the received rows, int32: `[capacity, top_k]` (rank_major; -1 for entries on other ranks),
  /// `[capacity]` (expert_major), `[local experts, capacity]` (expert_slots). Undefined for routes made from a mask.
  [[nodiscard]] Tensor expert_ids() const;
  /// `Origin` of every received row as int64: `[capacity]` or `[local experts, capacity]`.
  [[nodiscard]] Tensor origins() const;

  /// Equal on all ranks. The most severe of: an exhausted heap, overflow (policy `error`), invalid ids. With several
  /// ranks or experts of one kind, the lowest is named, and `count` is the sum over the group.
  [[nodiscard]] const Status& status() const;
  /// Throws an Error if the status is not ok.
  void check() const;
  /// Rows left out in the whole group by policy `drop` (entries in expert layouts).
  [[nodiscard]] std::int64_t num_dropped() const;

  /// For the library: takes over one reference.
  explicit Route(routing::RouteState* adopted) noexcept : state_(adopted) {}
  [[nodiscard]] routing::RouteState* state() const noexcept { return state_; }

 private:
  routing::RouteState* state_ = nullptr;
};

}  // namespace railyard
