// SPDX-License-Identifier: Apache-2.0
// One source's ids or mask, checked and counted.
#pragma once

#include <railyard/placement.hpp>
#include <railyard/tensor.hpp>

#include <cstdint>
#include <span>
#include <vector>

namespace railyard::routing {

/// Reused between operations: its vectors keep their memory.
struct Entries {
  std::int64_t num_tokens = 0;
  int width = 0;  // top_k, or the number of ranks for a mask
  bool from_mask = false;
  std::vector<std::int32_t> target;  // [num_tokens, width] expert (mask: rank), -1 = none
  std::vector<std::int32_t> counts;  // entries per expert [experts] (mask: 0), then rows per rank [ranks]
  std::int64_t invalid_ids = 0;      // ids outside [-1, experts), taken as -1
  std::int64_t first_invalid_id = 0;
  std::vector<std::int64_t> last_token;  // [ranks] scratch of the scan

  [[nodiscard]] std::span<const std::int32_t> of_token(std::int64_t token) const noexcept {
    return {target.data() + token * width, static_cast<std::size_t>(width)};
  }
  /// The token's experts as `rank` numbers its own, -1 for those of other ranks. Not for masks.
  void local_ids(std::int64_t token, const Placement& placement, int rank, std::int32_t* ids) const noexcept {
    const std::int32_t first = placement.first_expert(rank);
    const std::int32_t count = placement.local_experts(rank);
    for (const std::int32_t expert : of_token(token)) {
      const std::int32_t local = expert - first;
      *ids++ = expert >= 0 && local >= 0 && local < count ? local : -1;
    }
  }
};

/// `ids`: int32 or int64 `[>= num_tokens, top_k]`, contiguous, validated by the caller.
void scan_ids(const ConstTensorView& ids, std::int64_t num_tokens, const Placement& placement, Entries& entries);
/// `mask`: uint8 `[>= num_tokens, ranks]`, contiguous.
void scan_mask(const ConstTensorView& mask, std::int64_t num_tokens, const Placement& placement, Entries& entries);

/// Entries for ranks that are not `takes_part` [ranks] become -1, and are counted nowhere.
void leave_out_ranks(const std::vector<bool>& takes_part, const Placement& placement, Entries& entries);

}  // namespace railyard::routing
