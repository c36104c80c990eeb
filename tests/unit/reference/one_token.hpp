// SPDX-License-Identifier: Apache-2.0
// One token on rank 0 whose entries return given values: the combine tests work out the sum by hand.
#pragma once

#include "values.hpp"

namespace railyard::reference {

struct OneToken {
  std::vector<int> experts_per_rank;
  std::vector<std::int64_t> ids;
  std::vector<float> values;  // what the expert of entry k returns; rank_major: what the rank of entry k returns
  Layout layout = Layout::expert_slots;
  ReductionLevels levels = ReductionLevels::rank;
  ReductionOrder order = ReductionOrder::rank_ascending;
  DType y_dtype = DType::fp32;
  DType out_dtype = DType::fp32;
  std::vector<float> weights{};      // at the origin
  std::vector<float> row_weights{};  // of entry k, given to its row
  std::vector<Bias> biases{};        // of eight elements
  OverflowPolicy overflow = OverflowPolicy::error;
  std::int64_t capacity = 8;
  std::vector<bool> heap_exhausted{};
};

/// One value in memory: fp32, bf16 if it is exact, or fp16 if it is +-60000 (0x7B53).
inline Bytes element(DType dtype, float value) {
  if (dtype == DType::fp32) {
    return pack(std::vector<float>{value});
  }
  if (dtype == DType::fp16) {
    EXPECT_TRUE(value == 60000 || value == -60000 || value == 1e30F) << value;
    return pack(std::vector<std::uint16_t>{static_cast<std::uint16_t>(value < 0 ? 0xFB53 : 0x7B53)});
  }
  return value == 1e30F ? pack(std::vector<std::uint16_t>{0x7149}) : bf16({value});
}

/// Eight times the same element.
inline Bytes eight(const Bytes& element) {
  Bytes row;
  for (int i = 0; i < 8; ++i) {
    row.insert(row.end(), element.begin(), element.end());
  }
  return row;
}

/// The bytes of the token's first element; all eight must be equal.
inline Bytes reduce(const OneToken& given) {
  Config config;
  config.experts_per_rank = given.experts_per_rank;
  config.top_k = static_cast<int>(given.ids.size());
  config.hidden = 8;
  config.layout = given.layout;
  config.levels = given.levels;
  config.order = given.order;
  config.overflow = given.overflow;
  config.heap_exhausted = given.heap_exhausted;
  const std::size_t ranks = given.experts_per_rank.size();
  config.capacity.assign(ranks, given.capacity);
  std::vector<Source> sources(ranks);
  sources[0].tokens = 1;
  sources[0].ids = given.ids;
  sources[0].x = bf16(std::vector<float>(8, 1));
  const Result routed = dispatch(config, sources);

  CombineInput input;
  input.y_dtype = given.y_dtype;
  input.out_dtype = given.out_dtype;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    Bytes y;
    for (std::size_t flat = 0; flat < routed.received[rank].origins.size(); ++flat) {
      const Bytes row = eight(element(given.y_dtype, 1e30F));  // never read, unless below
      y.insert(y.end(), row.begin(), row.end());
    }
    input.y.push_back(y);
    if (!given.row_weights.empty()) {
      input.row_weights.emplace_back(routed.received[rank].origins.size(), 1e30F);
    }
    input.weights.resize(given.weights.empty() ? 0 : ranks);
    input.biases.resize(given.biases.empty() ? 0 : ranks);
  }
  for (std::size_t k = 0; k < given.ids.size(); ++k) {
    if (routed.sources[0].row[k] >= 0) {
      const auto rank = static_cast<std::size_t>(routed.sources[0].destination[k]);
      const auto flat = static_cast<std::size_t>(routed.sources[0].row[k]);
      const Bytes row = eight(element(given.y_dtype, given.values[k]));
      std::memcpy(input.y[rank].data() + flat * row.size(), row.data(), row.size());
      if (!given.row_weights.empty()) {
        input.row_weights[rank][flat] = given.row_weights[k];
      }
    }
  }
  if (!given.weights.empty()) {
    input.weights[0] = given.weights;
  }
  if (!given.biases.empty()) {
    input.biases[0] = given.biases;
  }
  const std::vector<Bytes> out = combine(config, routed, input);
  const Bytes first(out[0].begin(), out[0].begin() + static_cast<std::ptrdiff_t>(out[0].size() / 8));
  EXPECT_EQ(out[0], eight(first));
  return first;
}

inline float reduce_to_float(const OneToken& given) { return unpack<float>(reduce(given))[0]; }
inline std::uint32_t reduce_to_bits(const OneToken& given) { return unpack<std::uint32_t>(reduce(given))[0]; }
inline std::uint16_t reduce_to_code(const OneToken& given) { return unpack<std::uint16_t>(reduce(given))[0]; }

}  // namespace railyard::reference
