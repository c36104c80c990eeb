// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/buffer.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace railyard::cli::bench {
namespace {

constexpr std::size_t kPage = 4096;

/// Turns 64 random bits into elements of a type, by mask and offset on each: `keep` are the sign and mantissa bits.
struct Pattern {
  std::uint64_t keep;
  std::uint64_t exponent_bits;  // how many low bits of the exponent stay random
  std::uint64_t base;           // added: the smallest exponent
};

Pattern pattern_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:  // exponents 120..127 of bias 127
      return {0x807F807F807F807FU, 0x0380038003800380U, 0x3C003C003C003C00U};
    case DType::fp16:  // exponents 8..15 of bias 15
      return {0x83FF83FF83FF83FFU, 0x1C001C001C001C00U, 0x2000200020002000U};
    case DType::fp32:
      return {0x807FFFFF807FFFFFU, 0x0380000003800000U, 0x3C0000003C000000U};
    case DType::uint8:  // UE8M0: 2^-7 to 1
      return {0, 0x0707070707070707U, 0x7878787878787878U};
    default:  // fp8_e4m3: exponents 0..7 of bias 7, below 2 and never NaN
      return {0x8787878787878787U, 0x3838383838383838U, 0};
  }
}

}  // namespace

void Buffer::Free::operator()(std::byte* memory) const noexcept { std::free(memory); }

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) {
  const std::size_t rounded = (bytes + kPage - 1) / kPage * kPage;
  if (rounded > 0) {
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, rounded)));
    if (memory_ == nullptr) {
      throw Error(ErrorCode::out_of_memory, "a buffer of " + std::to_string(rounded) + " bytes cannot be had");
    }
  }
}

void fill_random(std::byte* data, DType dtype, std::size_t count, Random& random) {
  const Pattern pattern = pattern_of(dtype);
  const std::size_t bytes = count * size_of(dtype);
  for (std::size_t done = 0; done < bytes; done += sizeof(std::uint64_t)) {
    const std::uint64_t bits = random.next();
    const std::uint64_t values = (bits & pattern.keep) | ((bits & pattern.exponent_bits) + pattern.base);
    std::memcpy(data + done, &values, std::min(sizeof(values), bytes - done));
  }
}

void fill_row(std::byte* data, std::uint64_t seed, const TensorOf& tensor, std::int64_t row) {
  const std::uint64_t stream = (static_cast<std::uint64_t>(tensor.content) + 1) << 60U |
                               static_cast<std::uint64_t>(tensor.slot) << 52U |
                               static_cast<std::uint64_t>(tensor.rank) << 40U | static_cast<std::uint64_t>(row);
  Random random(seed, stream);
  fill_random(data, tensor.dtype, static_cast<std::size_t>(tensor.columns), random);
}

Buffer filled(std::uint64_t seed, const TensorOf& tensor, int rows) {
  Buffer result(static_cast<std::size_t>(rows) * tensor.row_bytes());
  for (int row = 0; row < rows; ++row) {
    fill_row(result.data() + static_cast<std::size_t>(row) * tensor.row_bytes(), seed, tensor, row);
  }
  return result;
}

}  // namespace railyard::cli::bench
