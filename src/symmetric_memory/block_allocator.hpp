// SPDX-License-Identifier: Apache-2.0
// Which bytes of a heap are free. Knows offsets only, no memory: the same for every kind of device.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace railyard::symmetric_memory {

/// Best fit with immediate coalescing over a sorted list of free ranges. Not thread-safe. Allocates no memory of its
/// own once the list has been as long as it gets.
class BlockAllocator {
 public:
  /// Blocks start and end at multiples of this.
  static constexpr std::size_t kGranularity = 256;

  [[nodiscard]] static std::size_t round_up(std::size_t bytes) noexcept {
    return (bytes + kGranularity - 1) / kGranularity * kGranularity;
  }

  /// Adds [end(), end() + bytes) to the free bytes; `bytes` is rounded down to the granularity.
  void grow(std::size_t bytes);

  /// The offset of a block of round_up(bytes) bytes, or nothing if no free range is long enough. bytes > 0.
  [[nodiscard]] std::optional<std::size_t> allocate(std::size_t bytes);
  /// Gives back what `allocate` returned for `bytes`.
  void release(std::size_t offset, std::size_t bytes);

  [[nodiscard]] std::size_t end() const noexcept { return end_; }
  [[nodiscard]] std::size_t free_bytes() const noexcept { return free_bytes_; }
  [[nodiscard]] std::size_t largest_free_range() const noexcept;

 private:
  struct Range {
    std::size_t offset;
    std::size_t bytes;
  };
  std::vector<Range> free_;  // by offset, never adjacent
  std::size_t end_ = 0;
  std::size_t free_bytes_ = 0;
};

}  // namespace railyard::symmetric_memory
