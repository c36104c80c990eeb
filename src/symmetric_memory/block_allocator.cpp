// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/block_allocator.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace railyard::symmetric_memory {

void BlockAllocator::grow(std::size_t bytes) {
  bytes = bytes / kGranularity * kGranularity;
  if (bytes == 0) return;
  const std::size_t offset = end_;
  end_ += bytes;
  release(offset, bytes);
}

std::optional<std::size_t> BlockAllocator::allocate(std::size_t bytes) {
  bytes = round_up(bytes);
  auto best = free_.end();
  for (auto range = free_.begin(); range != free_.end(); ++range) {
    if (range->bytes >= bytes && (best == free_.end() || range->bytes < best->bytes)) best = range;
  }
  if (best == free_.end()) return std::nullopt;
  const std::size_t offset = best->offset;
  best->offset += bytes;
  best->bytes -= bytes;
  if (best->bytes == 0) free_.erase(best);
  free_bytes_ -= bytes;
  return offset;
}

void BlockAllocator::release(std::size_t offset, std::size_t bytes) {
  bytes = round_up(bytes);
  assert(offset + bytes <= end_);
  free_bytes_ += bytes;
  const auto next = std::lower_bound(free_.begin(), free_.end(), offset,
                                     [](const Range& range, std::size_t value) { return range.offset < value; });
  const bool joins_next = next != free_.end() && offset + bytes == next->offset;
  const bool joins_previous = next != free_.begin() && std::prev(next)->offset + std::prev(next)->bytes == offset;
  if (joins_previous && joins_next) {
    std::prev(next)->bytes += bytes + next->bytes;
    free_.erase(next);
  } else if (joins_previous) {
    std::prev(next)->bytes += bytes;
  } else if (joins_next) {
    next->offset = offset;
    next->bytes += bytes;
  } else {
    free_.insert(next, Range{offset, bytes});
  }
}

std::size_t BlockAllocator::largest_free_range() const noexcept {
  std::size_t largest = 0;
  for (const Range& range : free_) largest = std::max(largest, range.bytes);
  return largest;
}

}  // namespace railyard::symmetric_memory
