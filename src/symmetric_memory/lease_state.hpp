// SPDX-License-Identifier: Apache-2.0
// What a railyard::Lease points to.
#pragma once

#include <railyard/stream.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace railyard::symmetric_memory {

class Heap;

/// A block of a heap and the number of its holders. Owned by the heap, reused when the block has been given back; while
/// the block is out, it keeps the heap alive.
class LeaseState {
 public:
  void add_holder() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  /// The last holder gives the block back.
  void remove_holder() noexcept;

  /// Work on this stream uses the block too: its release comes after. By a holder; no effect on the host.
  void add_stream(Stream stream);

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
  std::vector<Stream> streams_;  // with a ReleaseOrder: whose work uses the block; the heap's lock guards it
};

}  // namespace railyard::symmetric_memory
