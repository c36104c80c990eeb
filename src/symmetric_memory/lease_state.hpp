// SPDX-License-Identifier: Apache-2.0
// What a railyard::Lease points to.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace railyard::symmetric_memory {

class Heap;

/// A block of a heap and the number of its holders. Owned by the heap, reused when the block has been given back; while
/// the block is out, it keeps the heap alive.
class LeaseState {
 public:
  void add_holder() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  /// The last holder gives the block back.
  void remove_holder() noexcept;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] const Heap* heap() const noexcept { return heap_.get(); }

 private:
  friend class Heap;
  std::atomic<int> holders_{0};
  std::byte* data_ = nullptr;
  std::size_t offset_ = 0;
  std::size_t bytes_ = 0;
  std::shared_ptr<Heap> heap_;
};

}  // namespace railyard::symmetric_memory
