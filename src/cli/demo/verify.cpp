// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/verify.hpp"

#include "cli/parallel.hpp"
#include "cli/rows.hpp"
#include "codecs/element.hpp"
#include "diagnostics/format.hpp"
#include "reference/row_codec.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>

namespace railyard::cli::demo {
namespace {

reference::Bytes bytes_of(const void* data, std::size_t bytes) {
  reference::Bytes result(bytes);
  if (bytes > 0) {
    std::memcpy(result.data(), data, bytes);
  }
  return result;
}

reference::Config reference_config(const Options& options, const Exchange& exchange) {
  reference::Config config;
  for (int rank = 0; rank < options.ranks; ++rank) {
    config.experts_per_rank.push_back(exchange.placement().local_experts(rank));
    config.capacity.push_back(exchange.ranks()[static_cast<std::size_t>(rank)].received.route.capacity());
  }
  config.top_k = options.top_k;
  config.hidden = options.hidden;
  config.layout = options.layout;
  config.alignment = exchange.ranks().front().received.route.alignment();
  config.levels = options.levels;
  config.codec = options.codec;
  config.has_weights = true;
  return config;
}

/// `y` as the reference takes it: packed rows. Rows that hold no token were never written and are left zero.
reference::Bytes packed_rows(const RankState& state, std::size_t row_bytes) {
  reference::Bytes result(static_cast<std::size_t>(num_flat_rows(state.y)) * row_bytes);
  const auto origins = state.received.route.origins().as<std::int64_t>();
  for (std::size_t row = 0; row < origins.size(); ++row) {
    if (std::bit_cast<Origin>(origins[row]).rank >= 0) {
      std::memcpy(result.data() + row * row_bytes, flat_row(state.y, static_cast<std::int64_t>(row)), row_bytes);
    }
  }
  return result;
}

void verify_exchange(const Options& options, const Exchange& exchange, Verification& result) {
  const reference::Config config = reference_config(options, exchange);
  const std::size_t row_bytes = static_cast<std::size_t>(options.hidden) * sizeof(std::uint16_t);
  std::vector<reference::Source> sources;
  reference::CombineInput input;
  for (const RankState& state : exchange.ranks()) {
    reference::Source& source = sources.emplace_back();
    source.tokens = state.tokens();
    source.ids = state.ids;
    source.weights = state.weights;
    source.x = bytes_of(state.x.data(), state.x.size() * sizeof(std::uint16_t));
    input.y.push_back(packed_rows(state, row_bytes));
    if (options.layout != Layout::rank_major) {
      const auto weights = state.received.weights.as<float>();
      input.row_weights.emplace_back(weights.begin(), weights.end());
    }
  }
  const reference::Result expected = reference::dispatch(config, sources);
  const std::vector<reference::Bytes> outputs = reference::combine(config, expected, input);
  for (std::size_t rank = 0; rank < exchange.ranks().size(); ++rank) {
    const RankState& state = exchange.ranks()[rank];
    const int index = static_cast<int>(rank);
    result.rows.add(compare_dispatch(index, Delivery::of(state.received), expected.received[rank]));
    result.combined.add(compare_output(index, std::as_bytes(std::span(state.out)), outputs[rank], row_bytes));
  }
}

/// One token through the layer, on its own.
struct DenseToken {
  std::vector<float> sum;        // [hidden], not rounded
  std::vector<float> magnitude;  // [hidden]: sum of |weight * y|
};

DenseToken dense_token(const Options& options, const Layer& layer, const std::uint16_t* x, const std::int64_t* ids,
                       const float* weights) {
  const auto width = static_cast<std::size_t>(options.hidden);
  DenseToken result{std::vector<float>(width), std::vector<float>(width)};
  const reference::EncodedRow encoded =
      reference::encode_row(options.codec, DType::bf16, reinterpret_cast<const std::byte*>(x), options.hidden);
  const std::vector<float> row =
      reference::decode_row(options.codec, encoded.row.data(), encoded.scales.data(), options.hidden);
  std::vector<std::uint16_t> y(width);
  for (int k = 0; k < options.top_k; ++k) {
    layer.expert(static_cast<int>(ids[k]), row, y);
    for (std::size_t i = 0; i < width; ++i) {
      const float term = codecs::bf16_to_float(y[i]);
      result.sum[i] = std::fma(weights[k], term, result.sum[i]);
      result.magnitude[i] += std::abs(weights[k] * term);
    }
  }
  return result;
}

/// The error of one element as a share of its bound: at most 1 if it is right.
double error_share(const Options& options, float output, float dense, float magnitude) {
  constexpr double kRoundoff = 0x1p-8;
  const double size = magnitude;
  const double sums = 2.0 * (options.top_k + options.ranks + 2) * 0x1p-24 * size;
  const double bound = kRoundoff * size + kRoundoff * (std::abs(double{dense}) + kRoundoff * size) + sums;
  const double error = std::abs(double{output} - double{dense});
  return error == 0.0 ? 0.0 : error / bound;
}

void verify_dense(const Options& options, const Layer& layer, const RankState& state, int rank, std::string_view text,
                  Slice slice, Verification& result) {
  std::vector<std::uint16_t> x;
  std::vector<std::int64_t> ids;
  std::vector<float> weights;
  embed_and_gate(layer, text, slice, x, ids, weights);
  const auto width = static_cast<std::size_t>(options.hidden);
  std::mutex mutex;
  parallel_for(static_cast<std::int64_t>(slice.count), [&](std::int64_t first, std::int64_t last) {
    Comparison compared;
    double largest = 0.0;
    for (auto token = static_cast<std::size_t>(first); token < static_cast<std::size_t>(last); ++token) {
      const std::size_t entry = token * static_cast<std::size_t>(options.top_k);
      const DenseToken dense = dense_token(options, layer, &x[token * width], &ids[entry], &weights[entry]);
      bool same = true;
      for (std::size_t i = 0; i < width; ++i) {
        const std::uint16_t output = state.out[token * width + i];
        if (options.levels == ReductionLevels::none) {
          same = same && output == codecs::float_to_bf16(dense.sum[i]);
        } else {
          const double share = error_share(options, codecs::bf16_to_float(output), dense.sum[i], dense.magnitude[i]);
          largest = std::max(largest, share);
          same = same && share <= 1.0;  // false for NaN
        }
      }
      compared.count(same, [&] { return diagnostics::format("token {} of rank {} in the dense layer", token, rank); });
    }
    const std::lock_guard lock(mutex);
    result.dense.add(compared);
    result.largest_error = std::max(result.largest_error, largest);
  });
}

}  // namespace

void Verification::add(const Verification& other) {
  rows.add(other.rows);
  combined.add(other.combined);
  dense.add(other.dense);
  largest_error = std::max(largest_error, other.largest_error);
}

Verification verify_step(const Options& options, const Layer& layer, const Exchange& exchange, std::string_view text,
                         const std::vector<Slice>& slices) {
  Verification result;
  verify_exchange(options, exchange, result);
  for (std::size_t rank = 0; rank < slices.size(); ++rank) {
    verify_dense(options, layer, exchange.ranks()[rank], static_cast<int>(rank), text, slices[rank], result);
  }
  return result;
}

}  // namespace railyard::cli::demo
