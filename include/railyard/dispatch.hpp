// SPDX-License-Identifier: Apache-2.0
// Options and results of dispatch.
#pragma once

#include <railyard/error.hpp>
#include <railyard/export.hpp>
#include <railyard/route.hpp>
#include <railyard/stream.hpp>
#include <railyard/tensor.hpp>
#include <railyard/types.hpp>

#include <cstdint>
#include <memory>
#include <optional>

namespace railyard {

class GroupState;

/// How a route places rows. Equal on all ranks, except `num_tokens` and `expert_load`.
struct RouteOptions {
  Layout layout = Layout::rank_major;
  /// expert_major: group starts are multiples of this, in [1, 65536].
  int alignment = 1;
  /// Rows granted per rank (per expert in expert_slots). 0: enough for any routing without duplicate ids in a token:
  /// rank_major ranks * max_tokens; expert_slots the same, per expert; expert_major ranks * max_tokens *
  /// min(top_k, local experts) + (alignment - 1) * local experts, rounded up to alignment.
  std::int64_t capacity = 0;
  /// Device word with the token count, int32 in [0, rows of the ids]; null: all rows. The host's is checked before
  /// anything is sent; on CUDA the nearest legal count is taken, and the status says so (invalid_argument).
  const std::int32_t* num_tokens = nullptr;
  /// int32 `[local experts]`, the entries received are added to it, by the receive part; it stays at 2^31 - 1. May be
  /// undefined.
  TensorView expert_load = {};
};

/// What travels along a route.
struct PayloadOptions {
  /// Gate weights, fp32 `[tokens, top_k]`; delivered with the rows. May be undefined.
  ConstTensorView weights = {};
  /// Scales of rows that are quantised already (x is fp8_e4m3): fp32 or uint8 (UE8M0) `[tokens, ceil(hidden/128)]`.
  ConstTensorView scales = {};
  /// Encode rows on the way; none: rows are copied exactly.
  std::optional<Codec> codec = {};
  Tail tail = Tail::untouched;
};

/// Both, for a dispatch that makes its route.
struct DispatchOptions {
  ConstTensorView weights = {};
  ConstTensorView scales = {};
  std::optional<Codec> codec = {};
  Tail tail = Tail::untouched;
  Layout layout = Layout::rank_major;
  int alignment = 1;
  std::int64_t capacity = 0;
  const std::int32_t* num_tokens = nullptr;
  TensorView expert_load = {};
};

/// What a dispatch delivered. Copies share the lease; every tensor taken from it holds the lease too.
struct Dispatched {
  /// Received rows: `[capacity, hidden]`, expert_slots `[local experts, capacity, hidden]`. The row stride is `hidden`
  /// elements when a row's bytes are a multiple of 16, else rounded up to that.
  Tensor rows;
  /// Scales, undefined for codecs without: `[capacity, ceil(hidden/128)]` or `[local experts, capacity, ...]`; same
  /// rule.
  Tensor scales;
  /// Weights of the entries, fp32, with the shape of `route.expert_ids()`; undefined if none were sent.
  Tensor weights;
  Route route;
  Event event;

  /// The status of this dispatch: the route's, unless a heap was too full for its rows. Waits as `event` does.
  [[nodiscard]] const Status& status() const { return event.status(); }
  /// Waits; throws an Error if the status is not ok.
  RAILYARD_API void check() const;
};

/// A dispatch whose send part has run. Receive in send order. Dropping it without `receive` suspends the group here and
/// leaves the peers to their deadline.
class RAILYARD_API PendingDispatch {
 public:
  PendingDispatch(PendingDispatch&& other) noexcept;
  PendingDispatch& operator=(PendingDispatch&& other) noexcept;
  ~PendingDispatch();
  /// Collective in the sense that it waits for every peer's send part. Once; throws RY-DESTROYED the second time.
  [[nodiscard]] Dispatched receive(Stream stream = {});

  /// For the library.
  PendingDispatch(std::shared_ptr<GroupState> group, std::uint64_t ticket) noexcept;

 private:
  std::shared_ptr<GroupState> group_;
  std::uint64_t ticket_ = 0;
};

}  // namespace railyard
