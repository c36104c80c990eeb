// SPDX-License-Identifier: Apache-2.0
// Memory for one row: poisoned, at a chosen distance from a cache line's start, with guard bytes on both sides.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace railyard::codecs {

class GuardedRow {
 public:
  static constexpr std::byte kPoison{0xCD};

  explicit GuardedRow(std::size_t bytes, std::size_t misalignment = 0) : bytes_(bytes) {
    memory_.resize(bytes + 2 * kGuard + misalignment + kLine);
    std::size_t index = 0;
    for (std::byte& byte : memory_) {
      byte = guard_byte(index++);
    }
    const auto first = reinterpret_cast<std::uintptr_t>(memory_.data()) + kGuard;
    offset_ = kGuard + (kLine - first % kLine) % kLine + misalignment;
    std::fill_n(memory_.begin() + static_cast<std::ptrdiff_t>(offset_), bytes, kPoison);
  }

  template <class T>
  explicit GuardedRow(const std::vector<T>& values, std::size_t misalignment = 0)
      : GuardedRow(values.size() * sizeof(T), misalignment) {
    if (!values.empty()) {
      std::memcpy(data(), values.data(), bytes_);
    }
  }

  [[nodiscard]] void* data() noexcept { return memory_.data() + offset_; }
  [[nodiscard]] const void* data() const noexcept { return memory_.data() + offset_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {memory_.data() + offset_, bytes_}; }

  template <class T>
  [[nodiscard]] std::vector<T> as() const {
    std::vector<T> values(bytes_ / sizeof(T));
    if (!values.empty()) {
      std::memcpy(values.data(), data(), values.size() * sizeof(T));
    }
    return values;
  }

  /// Whether nothing outside the row has changed.
  [[nodiscard]] bool guards_intact() const noexcept {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      const bool inside = i >= offset_ && i < offset_ + bytes_;
      if (!inside && memory_[i] != guard_byte(i)) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::size_t kLine = 64;
  static constexpr std::size_t kGuard = 192;

  static std::byte guard_byte(std::size_t index) noexcept { return static_cast<std::byte>(0xA0 + index % 31); }

  std::vector<std::byte> memory_;
  std::size_t bytes_;
  std::size_t offset_ = 0;
};

}  // namespace railyard::codecs
