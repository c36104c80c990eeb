// SPDX-License-Identifier: Apache-2.0
// Memory of the caller's kind: page-aligned, outside any heap, filled with numbers.
#pragma once

#include "cli/random.hpp"

#include <railyard/types.hpp>

#include <cstddef>
#include <memory>

namespace railyard::cli::bench {

/// Uninitialised until it is filled. Movable, not copyable.
class Buffer {
 public:
  Buffer() = default;
  /// Throws Error{out_of_memory} with the bytes wanted.
  explicit Buffer(std::size_t bytes);

  [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  std::size_t bytes_ = 0;
};

/// Writes `count` finite values with magnitudes in [2^-7, 2), or zero in fp8_e4m3; uint8: power-of-two scales near 1.
void fill_random(std::byte* data, DType dtype, std::size_t count, Random& random);

}  // namespace railyard::cli::bench
