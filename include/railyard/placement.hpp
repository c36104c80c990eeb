// SPDX-License-Identifier: Apache-2.0
// Which rank holds which expert.
#pragma once

#include <railyard/export.hpp>

#include <cstdint>
#include <vector>

namespace railyard {

/// Experts in contiguous blocks: rank r holds experts [first_expert(r), first_expert(r) + local_experts(r)).
/// Immutable. A default-constructed placement is empty and means "even blocks" to `GroupOptions`.
class RAILYARD_API Placement {
 public:
  Placement() = default;
  /// Even blocks; when `num_experts` is no multiple of `num_ranks`, the first ranks hold one more.
  /// Throws RY-INVALID-ARGUMENT for num_ranks outside [1, 4096] or num_experts outside [1, 1'048'576].
  [[nodiscard]] static Placement contiguous(int num_experts, int num_ranks);
  /// One block per rank with the given sizes; a rank may hold none. Throws for a negative size, no expert at
  /// all, or more than the same limits.
  [[nodiscard]] static Placement blocks(const std::vector<int>& experts_per_rank);

  [[nodiscard]] bool empty() const noexcept { return first_.empty(); }
  [[nodiscard]] int num_ranks() const noexcept { return empty() ? 0 : static_cast<int>(first_.size()) - 1; }
  [[nodiscard]] int num_experts() const noexcept { return empty() ? 0 : first_.back(); }
  [[nodiscard]] int first_expert(int rank) const noexcept { return first_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] int local_experts(int rank) const noexcept { return first_expert(rank + 1) - first_expert(rank); }
  [[nodiscard]] int max_local_experts() const noexcept;
  [[nodiscard]] int rank_of(int expert) const noexcept { return owner_[static_cast<std::size_t>(expert)]; }

  friend bool operator==(const Placement&, const Placement&) = default;

 private:
  std::vector<std::int32_t> first_;  // [ranks + 1]
  std::vector<std::int32_t> owner_;  // [experts]
};

}  // namespace railyard
