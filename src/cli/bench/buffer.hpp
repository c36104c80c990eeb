// SPDX-License-Identifier: Apache-2.0
// Memory of the caller's kind: page-aligned, outside any heap, filled with numbers.
// Rows are pure functions of where they belong, so that every process can make those of all ranks again.
#pragma once

#include "cli/random.hpp"

#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>
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

enum class Content : std::uint8_t { x, scales, y };

/// One tensor of a measurement; of `y`, rank and rows are the destination's.
struct TensorOf {
  Content content;
  int rank;
  int slot;
  DType dtype;
  int columns;

  [[nodiscard]] std::size_t row_bytes() const { return static_cast<std::size_t>(columns) * size_of(dtype); }
};

/// Writes row `row` of the tensor.
void fill_row(std::byte* data, std::uint64_t seed, const TensorOf& tensor, std::int64_t row);

/// The first `rows` rows of the tensor, packed.
[[nodiscard]] Buffer filled(std::uint64_t seed, const TensorOf& tensor, int rows);

}  // namespace railyard::cli::bench
