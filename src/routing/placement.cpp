// SPDX-License-Identifier: Apache-2.0
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>
#include <railyard/placement.hpp>

#include <algorithm>

namespace railyard {
namespace {

constexpr std::size_t kMaxRanks = 4096;
constexpr std::size_t kMaxExperts = 1U << 20;

}  // namespace

Placement Placement::contiguous(int num_experts, int num_ranks) {
  if (num_ranks < 1) {
    throw Error(ErrorCode::invalid_argument, diagnostics::format("a placement of {} ranks; at least 1", num_ranks));
  }
  if (num_experts < 1) {
    throw Error(ErrorCode::invalid_argument, diagnostics::format("a placement of {} experts; at least 1", num_experts));
  }
  if (static_cast<std::size_t>(num_ranks) > kMaxRanks) {
    throw Error(ErrorCode::invalid_argument,
                diagnostics::format("a placement of {} ranks; at most {}", num_ranks, kMaxRanks));
  }
  std::vector<int> sizes(static_cast<std::size_t>(num_ranks), num_experts / num_ranks);
  for (int rank = 0; rank < num_experts % num_ranks; ++rank) ++sizes[static_cast<std::size_t>(rank)];
  return blocks(sizes);
}

Placement Placement::blocks(const std::vector<int>& experts_per_rank) {
  if (experts_per_rank.size() > kMaxRanks) {
    throw Error(ErrorCode::invalid_argument,
                diagnostics::format("a placement of {} ranks; at most {}", experts_per_rank.size(), kMaxRanks));
  }
  Placement placement;
  placement.first_.push_back(0);
  for (std::size_t rank = 0; rank < experts_per_rank.size(); ++rank) {
    const int size = experts_per_rank[rank];
    if (size < 0) {
      throw Error(ErrorCode::invalid_argument,
                  diagnostics::format("a placement with {} experts on rank {}; at least 0", size, rank));
    }
    if (static_cast<std::size_t>(size) > kMaxExperts - placement.owner_.size()) {
      throw Error(ErrorCode::invalid_argument,
                  diagnostics::format("a placement with {} experts up to rank {}; at most {}",
                                      placement.owner_.size() + static_cast<std::size_t>(size), rank, kMaxExperts));
    }
    placement.owner_.insert(placement.owner_.end(), static_cast<std::size_t>(size), static_cast<std::int32_t>(rank));
    placement.first_.push_back(static_cast<std::int32_t>(placement.owner_.size()));
  }
  if (placement.owner_.empty()) {
    throw Error(
        ErrorCode::invalid_argument,
        diagnostics::format("a placement without experts on {} ranks; at least 1 expert", experts_per_rank.size()));
  }
  return placement;
}

int Placement::max_local_experts() const noexcept {
  int most = 0;
  for (int rank = 0; rank < num_ranks(); ++rank) most = std::max(most, local_experts(rank));
  return most;
}

}  // namespace railyard
