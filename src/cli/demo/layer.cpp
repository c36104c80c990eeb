// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/layer.hpp"

#include "cli/random.hpp"
#include "codecs/element.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace railyard::cli::demo {
namespace {

/// Columns that one pass of `multiply` keeps in registers.
constexpr std::size_t kColumns = 16;

std::size_t unsigned_of(int value) { return static_cast<std::size_t>(value); }

/// Values with the variance of a matrix that keeps the size of its input.
std::vector<float> parameters(std::size_t count, int inputs, std::uint64_t seed, std::uint64_t stream) {
  Random random(seed, stream);
  const float scale = std::sqrt(3.0F / static_cast<float>(inputs));
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return random.centred() * scale; });
  return values;
}

/// result[j] = sum over i, ascending, of x[i] * matrix[i][j].
void multiply(std::span<const float> x, const float* matrix, std::span<float> result) {
  const std::size_t columns = result.size();
  std::size_t first = 0;
  for (; first + kColumns <= columns; first += kColumns) {
    std::array<float, kColumns> sums{};
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float* row = matrix + i * columns + first;
      for (std::size_t j = 0; j < kColumns; ++j) {
        sums[j] += x[i] * row[j];
      }
    }
    std::copy(sums.begin(), sums.end(), result.begin() + static_cast<std::ptrdiff_t>(first));
  }
  for (; first < columns; ++first) {
    float sum = 0.0F;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += x[i] * matrix[i * columns + first];
    }
    result[first] = sum;
  }
}

float silu(float value) { return value / (1.0F + std::exp(-value)); }

}  // namespace

Layer::Layer(const LayerShape& shape) : shape_(shape) {
  const std::size_t hidden = unsigned_of(shape.hidden);
  const std::size_t intermediate = unsigned_of(shape.intermediate);
  const std::size_t experts = unsigned_of(shape.experts);
  embedding_ = parameters(256 * hidden, 3, shape.seed, 1);
  gate_ = parameters(hidden * experts, shape.hidden, shape.seed, 2);
  gate_bias_ = parameters(experts, 300, shape.seed, 3);
  up_ = parameters(experts * 2 * hidden * intermediate, shape.hidden, shape.seed, 4);
  down_ = parameters(experts * intermediate * hidden, shape.intermediate, shape.seed, 5);
}

void Layer::embed(std::string_view text, std::size_t position, std::span<std::uint16_t> row) const {
  constexpr std::array kShare = {1.0F, 0.5F, 0.25F};
  const std::size_t hidden = row.size();
  for (std::size_t i = 0; i < hidden; ++i) {
    const double rate = std::pow(10000.0, -static_cast<double>(i - i % 2) / static_cast<double>(hidden));
    const double angle = static_cast<double>(position) * rate;
    float sum = static_cast<float>(0.25 * (i % 2 == 0 ? std::sin(angle) : std::cos(angle)));
    for (std::size_t back = 0; back < kShare.size() && back <= position; ++back) {
      const auto byte = static_cast<unsigned char>(text[position - back]);
      sum += kShare[back] * embedding_[byte * hidden + (i + back) % hidden];
    }
    row[i] = codecs::float_to_bf16(sum);
  }
}

void Layer::logits(std::span<const std::uint16_t> row, std::span<float> result) const {
  std::vector<float> x(row.size());
  std::transform(row.begin(), row.end(), x.begin(), codecs::bf16_to_float);
  multiply(x, gate_.data(), result);
}

void Layer::expert(int expert, std::span<const float> x, std::span<std::uint16_t> result) const {
  const std::size_t hidden = unsigned_of(shape_.hidden);
  const std::size_t intermediate = unsigned_of(shape_.intermediate);
  const std::size_t matrix = hidden * intermediate;
  const float* up = up_.data() + unsigned_of(expert) * 2 * matrix;
  thread_local std::vector<float> scratch;
  scratch.resize(2 * intermediate + hidden);
  const std::span<float> gated(scratch.data(), intermediate);
  const std::span<float> linear(scratch.data() + intermediate, intermediate);
  const std::span<float> sums(scratch.data() + 2 * intermediate, hidden);
  multiply(x, up, gated);
  multiply(x, up + matrix, linear);
  for (std::size_t i = 0; i < intermediate; ++i) {
    gated[i] = silu(gated[i]) * linear[i];
  }
  multiply(gated, down_.data() + unsigned_of(expert) * matrix, sums);
  std::transform(sums.begin(), sums.end(), result.begin(), codecs::float_to_bf16);
}

}  // namespace railyard::cli::demo
