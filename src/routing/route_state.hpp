// SPDX-License-Identifier: Apache-2.0
// What a railyard::Route points to.
#pragma once

#include "routing/entries.hpp"

#include <railyard/error.hpp>
#include <railyard/tensor.hpp>
#include <railyard/types.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace railyard::routing {

class RouteState;

/// Where routes go back to when their last holder lets go: one per group.
class RouteOwner {
 public:
  virtual ~RouteOwner() = default;
  virtual void give_back(RouteState& state) noexcept = 0;
};

/// `Transfer::row` of a row that did not fit and must make its token's combine NaN.
inline constexpr std::int32_t kLostRow = -1;

/// One row that a token has at a destination.
struct Transfer {
  std::int32_t row = kLostRow;  // flat row there: expert_slots: local expert * capacity + slot
  std::int16_t rank = 0;
  std::int16_t k = 0;  // of the entry; rank_major: the token's lowest k on that rank
};

/// Filled once by `resolve`, immutable afterwards; its memory is reused when the last holder is gone.
class RouteState {
 public:
  RouteState() = default;
  virtual ~RouteState() = default;
  RouteState(const RouteState&) = delete;
  RouteState& operator=(const RouteState&) = delete;

  /// Returns when the values below are there. A device that makes the route fills them in here.
  virtual void wait() {}
  /// The same, for expert_counts and expert_offsets.
  virtual void wait_for_expert_counts() { wait(); }
  /// False for a route that a graph makes anew with each replay.
  [[nodiscard]] virtual bool counts_are_fixed() const { return true; }
  [[nodiscard]] virtual Tensor device_expert_counts() {
    return {TensorView(expert_counts.data(), DType::int32, {static_cast<std::int64_t>(expert_counts.size())}), {}};
  }

  std::uint64_t id = 0;  // counts the group's routes
  Layout layout = Layout::rank_major;
  int alignment = 1;
  Entries entries;  // of this rank as a source

  std::int64_t max_tokens = 0;  // rows of the ids or the mask; num_tokens() may be fewer

  // This rank as a source. Transfers of a token are in the order in which combine adds them; rows left out by policy
  // `drop` have none.
  std::vector<std::int64_t> first_transfer;  // [num_tokens + 1]
  std::vector<Transfer> transfers;
  std::vector<std::int32_t> send_counts;  // [ranks]

  // This rank as a destination.
  std::int64_t num_rows = 0;
  std::vector<std::int32_t> tokens_from;     // [ranks] tokens with an entry here, before dropping
  std::vector<std::int32_t> receive_counts;  // [ranks] rows
  std::vector<std::int32_t> expert_counts;   // [local experts]
  std::vector<std::int32_t> expert_offsets;  // [local experts + 1]
  std::vector<std::int64_t> capacities;      // [ranks] as granted
  std::int64_t own_capacity = 0;             // of this rank
  Tensor expert_ids;
  Tensor origins;

  Status status;
  std::int64_t num_dropped = 0;

  [[nodiscard]] int width() const noexcept { return entries.width; }
  [[nodiscard]] bool from_mask() const noexcept { return entries.from_mask; }
  [[nodiscard]] std::int64_t num_tokens() const noexcept { return entries.num_tokens; }

  [[nodiscard]] std::span<const Transfer> of_token(std::int64_t token) const noexcept {
    const auto begin = first_transfer[static_cast<std::size_t>(token)];
    return {transfers.data() + begin,
            static_cast<std::size_t>(first_transfer[static_cast<std::size_t>(token) + 1] - begin)};
  }

  void add_holder() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  void remove_holder() noexcept;
  [[nodiscard]] const RouteOwner* owner() const noexcept { return owner_.get(); }
  /// Hands it out, with one holder.
  void start(std::shared_ptr<RouteOwner> owner) noexcept {
    holders_.store(1, std::memory_order_relaxed);
    owner_ = std::move(owner);
  }

 private:
  std::atomic<int> holders_{0};
  std::shared_ptr<RouteOwner> owner_;
};

/// One group's routes on the host. Thread-safe.
class RoutePool final : public RouteOwner, public std::enable_shared_from_this<RoutePool> {
 public:
  /// A state with one holder, contents as its last user left them.
  [[nodiscard]] RouteState* take();
  void give_back(RouteState& state) noexcept override;

 private:
  std::mutex mutex_;
  std::deque<RouteState> states_;
  std::vector<RouteState*> idle_;
};

}  // namespace railyard::routing
