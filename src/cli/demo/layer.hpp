// SPDX-License-Identifier: Apache-2.0
// A Mixture-of-Experts layer with seeded parameters: byte embedding, gate, SwiGLU experts. Every function works on one
// token and is a pure function of its arguments: the same bits wherever and in whatever company it is computed. All
// products and sums are in fp32.
#pragma once

#include <railyard/gate.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace railyard::cli::demo {

struct LayerShape {
  int hidden = 0;
  int intermediate = 0;
  int experts = 0;
  GateOptions gate;
  std::uint64_t seed = 0;
};

class Layer {
 public:
  explicit Layer(const LayerShape& shape);

  [[nodiscard]] const LayerShape& shape() const noexcept { return shape_; }

  /// The bf16 row of the byte at `position`: a sum of the embeddings of it and of the two bytes before it, and of a
  /// sinusoidal embedding of the position (Vaswani et al., arXiv:1706.03762), so that no two rows are equal.
  void embed(std::string_view text, std::size_t position, std::span<std::uint16_t> row) const;

  /// Scores of all experts, as `railyard::gate` takes them.
  void logits(std::span<const std::uint16_t> row, std::span<float> result) const;
  /// The gate's correction bias, [experts].
  [[nodiscard]] std::span<const float> gate_bias() const noexcept { return gate_bias_; }

  /// result = bf16(W2 (silu(W1 x) * (W3 x))) of one expert, x in fp32.
  void expert(int expert, std::span<const float> x, std::span<std::uint16_t> result) const;

 private:
  LayerShape shape_;
  std::vector<float> embedding_;  // [256, hidden]
  std::vector<float> gate_;       // [hidden, experts]
  std::vector<float> gate_bias_;  // [experts]
  std::vector<float> up_;         // W1 and W3: [experts, 2, hidden, intermediate]
  std::vector<float> down_;       // W2: [experts, intermediate, hidden]
};

}  // namespace railyard::cli::demo
