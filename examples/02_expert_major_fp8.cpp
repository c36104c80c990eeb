// SPDX-License-Identifier: Apache-2.0
// bf16 rows are quantised to FP8 on the way and arrive as a grouped GEMM wants them: contiguous per expert, group
// starts multiples of 128, one fp32 scale per 128 elements.
#include <railyard/exchange.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <vector>

namespace {

constexpr int kRanks = 4;
constexpr int kTokens = 64;
constexpr int kHidden = 512;
constexpr int kExperts = 16;
constexpr int kTopK = 4;
constexpr int kBlock = 128;

using railyard::ConstTensorView;
using railyard::DType;
using railyard::TensorView;

float from_bf16(std::uint16_t code) { return std::bit_cast<float>(std::uint32_t{code} << 16U); }
std::uint16_t to_bf16(float value) {  // for finite values
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}

/// OFP8 E4M3: one sign bit, four exponent bits with bias 7, three mantissa bits.
float from_e4m3(std::uint8_t code) {
  const int exponent = code >> 3U & 0xF;
  const int mantissa = code & 7;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80U) != 0 ? -magnitude : magnitude;
}

float input(int rank, int token, int column) {
  return std::sin(static_cast<float>(rank * 1000 + token * 10 + column % 97));
}

/// Experts that pass rows on unchanged: what comes back is each token's own row, up to the rounding of FP8.
void run_experts(const railyard::Dispatched& in, TensorView y) {
  const auto offsets = in.route.expert_offsets().as<std::int32_t>();
  const auto counts = in.route.expert_counts().as<std::int32_t>();
  for (std::size_t expert = 0; expert < counts.size(); ++expert) {
    if (offsets[expert] % kBlock != 0) {
      throw std::runtime_error("a group does not start at a multiple of 128");
    }
    for (int row = offsets[expert]; row < offsets[expert] + counts[expert]; ++row) {
      for (int column = 0; column < kHidden; ++column) {
        const auto element = static_cast<std::size_t>(row * kHidden + column);
        const auto scale = static_cast<std::size_t>(row * (kHidden / kBlock) + column / kBlock);
        y.as<std::uint16_t>()[element] =
            to_bf16(from_e4m3(in.rows.as<std::uint8_t>()[element]) * in.scales.as<float>()[scale]);
      }
    }
  }
}

void run_rank(railyard::Rank& rank) {
  railyard::Group group(rank, {.num_experts = kExperts,
                               .max_top_k = kTopK,
                               .max_tokens = kTokens,
                               .hidden = kHidden,
                               .heap_bytes = std::size_t{32} << 20U});
  std::vector<std::uint16_t> x(kTokens * kHidden);
  std::vector<std::int64_t> ids(kTokens * kTopK);
  const std::vector<float> weights(kTokens * kTopK, 1.0F / kTopK);
  std::vector<std::uint16_t> out(x.size());
  for (int token = 0; token < kTokens; ++token) {
    for (int column = 0; column < kHidden; ++column) {
      x[static_cast<std::size_t>(token * kHidden + column)] = to_bf16(input(rank.index(), token, column));
    }
    for (int k = 0; k < kTopK; ++k) {
      ids[static_cast<std::size_t>(token * kTopK + k)] = (token * 7 + k * 5 + rank.index()) % kExperts;
    }
  }

  const railyard::Dispatched in =
      group.dispatch(ConstTensorView(x.data(), DType::bf16, {kTokens, kHidden}),
                     ConstTensorView(ids.data(), DType::int64, {kTokens, kTopK}),
                     {.weights = ConstTensorView(weights.data(), DType::fp32, {kTokens, kTopK}),
                      .codec = railyard::Codec::fp8_e4m3,
                      .layout = railyard::Layout::expert_major,
                      .alignment = kBlock});
  in.check();
  const railyard::Tensor y = group.allocate({in.rows.size(0), kHidden}, DType::bf16);
  run_experts(in, y);
  group.combine(y, in.route, TensorView(out.data(), DType::bf16, {kTokens, kHidden}), {.row_weights = in.weights})
      .check();

  for (std::size_t i = 0; i < out.size(); ++i) {
    // E4M3 keeps four significant bits: an error of at most 1/16 of the element, and of 2^-10 / 448 of the block's
    // largest one where it is denormal. Expert outputs, partial sums and the result are rounded to bf16, 1/256 each.
    const float wanted = from_bf16(x[i]);
    if (std::abs(from_bf16(out[i]) - wanted) > std::abs(wanted) * (1.0F / 16 + 1.0F / 64) + 0x1p-18F) {
      throw std::runtime_error("an element is off by more than FP8 explains");
    }
  }
}

}  // namespace

int main() {
  railyard::World::threads(kRanks).run(run_rank);
  std::puts("rows crossed in FP8 and came back within its rounding");
}
