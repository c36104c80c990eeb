// SPDX-License-Identifier: Apache-2.0
// Options and result of combine.
#pragma once

#include <railyard/error.hpp>
#include <railyard/export.hpp>
#include <railyard/stream.hpp>
#include <railyard/tensor.hpp>

#include <array>
#include <cstdint>
#include <memory>

namespace railyard {

class GroupState;

/// At most one of `weights` and `row_weights`, expert layouts only: in rank_major a row is the rank's partial sum.
struct CombineOptions {
  /// Weights at the origin: fp32 `[tokens, top_k]`.
  ConstTensorView weights = {};
  /// Weights at the expert side: fp32, one per row, with the shape of `route.expert_ids()`; usually
  /// `Dispatched::weights`.
  ConstTensorView row_weights = {};
  /// Added first, in this order: bf16, fp16 or fp32 `[tokens, hidden]` at the origin. May be undefined.
  std::array<ConstTensorView, 2> bias = {};
};

/// What became of a combine.
struct Combined {
  Event event;
  /// Waits as `event` does.
  [[nodiscard]] const Status& status() const { return event.status(); }
  /// Waits; throws an Error if the status is not ok.
  RAILYARD_API void check() const;
};

/// A combine whose send part has run. `y`, the weights, the biases and the output stay the operation's until `receive`.
/// Receive in send order. Dropping it without `receive` suspends the group here and leaves the peers to their deadline.
class RAILYARD_API PendingCombine {
 public:
  PendingCombine(PendingCombine&& other) noexcept;
  PendingCombine& operator=(PendingCombine&& other) noexcept;
  ~PendingCombine();
  /// Waits for the peers, writes the output, and returns when no peer reads `y` any more.
  Combined receive(Stream stream = {});

  /// For the library.
  PendingCombine(std::shared_ptr<GroupState> group, std::uint64_t ticket) noexcept;

 private:
  std::shared_ptr<GroupState> group_;
  std::uint64_t ticket_ = 0;
};

}  // namespace railyard
