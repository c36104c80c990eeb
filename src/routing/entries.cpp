// SPDX-License-Identifier: Apache-2.0
#include "routing/entries.hpp"

#include <algorithm>

namespace railyard::routing {
namespace {

void reset(Entries& entries, std::int64_t num_tokens, int width, bool from_mask, const Placement& placement) {
  entries.num_tokens = num_tokens;
  entries.width = width;
  entries.from_mask = from_mask;
  entries.target.resize(static_cast<std::size_t>(num_tokens * width));
  entries.counts.assign(static_cast<std::size_t>(std::int64_t{placement.num_experts()} + placement.num_ranks()), 0);
  entries.invalid_ids = 0;
  entries.first_invalid_id = 0;
}

template <typename Id>
void scan(const Id* ids, const Placement& placement, Entries& entries) {
  const auto num_experts = static_cast<Id>(placement.num_experts());
  std::int32_t* const expert_counts = entries.counts.data();
  std::int32_t* const rank_counts = expert_counts + placement.num_experts();
  std::int32_t* target = entries.target.data();
  entries.last_token.assign(static_cast<std::size_t>(placement.num_ranks()), -1);
  for (std::int64_t token = 0; token < entries.num_tokens; ++token) {
    for (int k = 0; k < entries.width; ++k) {
      const Id id = *ids++;
      if (id < 0 || id >= num_experts) {
        *target++ = -1;
        if (id != -1 && entries.invalid_ids++ == 0) entries.first_invalid_id = id;
        continue;
      }
      const auto expert = static_cast<std::int32_t>(id);
      *target++ = expert;
      ++expert_counts[expert];
      const std::int32_t rank = placement.rank_of(expert);
      std::int64_t& last = entries.last_token[static_cast<std::size_t>(rank)];
      rank_counts[rank] += last != token;  // a rank counts once per token
      last = token;
    }
  }
}

}  // namespace

void scan_ids(const ConstTensorView& ids, std::int64_t num_tokens, const Placement& placement, Entries& entries) {
  reset(entries, num_tokens, static_cast<int>(ids.size(1)), false, placement);
  if (ids.dtype() == DType::int32) {
    scan(static_cast<const std::int32_t*>(ids.data()), placement, entries);
  } else {
    scan(static_cast<const std::int64_t*>(ids.data()), placement, entries);
  }
}

void scan_mask(const ConstTensorView& mask, std::int64_t num_tokens, const Placement& placement, Entries& entries) {
  reset(entries, num_tokens, placement.num_ranks(), true, placement);
  const auto* marks = static_cast<const std::uint8_t*>(mask.data());
  std::int32_t* const rank_counts = entries.counts.data() + placement.num_experts();
  std::int32_t* target = entries.target.data();
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    for (int rank = 0; rank < entries.width; ++rank) {
      const bool sends = *marks++ != 0;
      *target++ = sends ? rank : -1;
      rank_counts[rank] += sends;
    }
  }
}

void leave_out_ranks(const std::vector<bool>& takes_part, const Placement& placement, Entries& entries) {
  for (std::int32_t& target : entries.target) {
    if (target < 0) continue;
    const int rank = entries.from_mask ? target : placement.rank_of(target);
    if (!takes_part[static_cast<std::size_t>(rank)]) target = -1;
  }
  for (int rank = 0; rank < placement.num_ranks(); ++rank) {
    if (takes_part[static_cast<std::size_t>(rank)]) continue;
    const auto first = entries.counts.begin() + placement.first_expert(rank);
    std::fill_n(first, placement.local_experts(rank), 0);
    entries.counts[static_cast<std::size_t>(placement.num_experts()) + static_cast<std::size_t>(rank)] = 0;
  }
}

}  // namespace railyard::routing
