// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/exchange.hpp"

#include "cli/random.hpp"
#include "cli/rows.hpp"
#include "codecs/codec.hpp"
#include "codecs/element.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>

namespace railyard::cli::demo {
namespace {

using Clock = std::chrono::steady_clock;

/// Group starts in expert_major, as a grouped GEMM would want them.
constexpr int kAlignment = 16;

GroupOptions group_options(const Options& options, const Placement& placement) {
  GroupOptions group{.num_experts = options.experts,
                     .max_top_k = options.top_k,
                     .max_tokens = options.tokens,
                     .hidden = options.hidden,
                     .mode = options.mode,
                     .row_dtype = options.codec == Codec::fp32 ? DType::fp32 : DType::bf16,
                     .placement = placement,
                     .levels = options.levels};
  group.heap_bytes = Group::bytes_needed(group, options.ranks, options.layout);
  return group;
}

Origin origin_of(const Dispatched& received, std::int64_t row) {
  return std::bit_cast<Origin>(received.route.origins().as<std::int64_t>()[static_cast<std::size_t>(row)]);
}

}  // namespace

std::int64_t RankState::tokens() const {
  return group ? static_cast<std::int64_t>(x.size()) / group->options().hidden : 0;
}

Exchange::Exchange(const Options& options, const Layer& layer)
    : options_(options),
      layer_(layer),
      placement_(Placement::contiguous(options.experts, options.ranks)),
      world_(World::threads(options.ranks)),
      states_(static_cast<std::size_t>(options.ranks)) {
  world_.run([&](Rank& rank) {
    states_[static_cast<std::size_t>(rank.index())].group.emplace(rank, group_options(options_, placement_));
  });
}

double Exchange::on_all_ranks(const std::function<void(int rank)>& stage) {
  std::vector<double> seconds(states_.size());
  world_.run([&](Rank& rank) {
    rank.barrier();
    const auto start = Clock::now();
    stage(rank.index());
    seconds[static_cast<std::size_t>(rank.index())] = std::chrono::duration<double>(Clock::now() - start).count();
  });
  return *std::max_element(seconds.begin(), seconds.end());
}

void embed_and_gate(const Layer& layer, std::string_view text, Slice slice, std::vector<std::uint16_t>& x,
                    std::vector<std::int64_t>& ids, std::vector<float>& weights) {
  const auto hidden = static_cast<std::size_t>(layer.shape().hidden);
  const auto experts = static_cast<std::size_t>(layer.shape().experts);
  const auto top_k = static_cast<std::size_t>(layer.shape().gate.top_k);
  x.resize(slice.count * hidden);
  ids.resize(slice.count * top_k);
  weights.resize(slice.count * top_k);
  std::vector<float> logits(slice.count * experts);
  for (std::size_t token = 0; token < slice.count; ++token) {
    const std::span<std::uint16_t> row(x.data() + token * hidden, hidden);
    layer.embed(text, slice.first + token, row);
    layer.logits(row, {logits.data() + token * experts, experts});
  }
  const auto tokens = static_cast<std::int64_t>(slice.count);
  const std::int64_t columns = layer.shape().gate.top_k;
  railyard::gate(ConstTensorView(logits.data(), DType::fp32, {tokens, layer.shape().experts}),
                 ConstTensorView(layer.gate_bias().data(), DType::fp32, {layer.shape().experts}), layer.shape().gate,
                 TensorView(ids.data(), DType::int64, {tokens, columns}),
                 TensorView(weights.data(), DType::fp32, {tokens, columns}));
}

double Exchange::gate(std::string_view text, const std::vector<Slice>& slices) {
  return on_all_ranks([&](int rank) {
    RankState& state = states_[static_cast<std::size_t>(rank)];
    embed_and_gate(layer_, text, slices[static_cast<std::size_t>(rank)], state.x, state.ids, state.weights);
  });
}

double Exchange::dispatch() {
  return on_all_ranks([&](int rank) {
    RankState& state = states_[static_cast<std::size_t>(rank)];
    state.y = {};
    state.received = {};
    const std::int64_t tokens = state.tokens();
    DispatchOptions options{.weights = ConstTensorView(state.weights.data(), DType::fp32, {tokens, options_.top_k}),
                            .codec = options_.codec,
                            .layout = options_.layout};
    options.alignment = options_.layout == Layout::expert_major ? kAlignment : 1;
    state.received =
        state.group->dispatch(ConstTensorView(state.x.data(), DType::bf16, {tokens, options_.hidden}),
                              ConstTensorView(state.ids.data(), DType::int64, {tokens, options_.top_k}), options);
    state.received.check();
  });
}

std::optional<std::string> Exchange::corrupt() {
  Random random(options_.seed, 99);
  for (std::size_t attempt = 0; attempt < states_.size(); ++attempt) {
    const std::size_t rank = (random.below(states_.size()) + attempt) % states_.size();
    const Dispatched& received = states_[rank].received;
    std::vector<std::int64_t> rows;
    for (std::int64_t row = 0; row < num_flat_rows(received.rows); ++row) {
      if (origin_of(received, row).rank >= 0) {
        rows.push_back(row);
      }
    }
    if (rows.empty()) {
      continue;
    }
    const std::int64_t row = rows[random.below(rows.size())];
    const auto row_bytes = static_cast<std::size_t>(options_.hidden) * size_of(received.rows.dtype());
    const std::size_t byte = random.below(row_bytes);
    flat_row(received.rows, row)[byte] ^= std::byte{0xFF};
    return diagnostics::format("byte {} of row {} at rank {}", byte, row, rank);
  }
  return std::nullopt;
}

void Exchange::apply_experts(int rank) {
  RankState& state = states_[static_cast<std::size_t>(rank)];
  const Dispatched& in = state.received;
  const int hidden = options_.hidden;
  const int first_expert = placement_.first_expert(rank);
  const codecs::DecodeRow decode = codecs::decoder(options_.codec, DType::fp32);
  state.y = in.rows.dimensions() == 3 ? state.group->allocate({in.rows.size(0), in.rows.size(1), hidden}, DType::bf16)
                                      : state.group->allocate({in.rows.size(0), hidden}, DType::bf16);
  const auto width = static_cast<std::size_t>(hidden);
  std::vector<float> x(width);
  std::vector<float> sum(width);
  std::vector<std::uint16_t> one(width);
  const ConstTensorView ids = in.route.expert_ids();
  for (std::int64_t row = 0; row < num_flat_rows(in.rows); ++row) {
    if (origin_of(in, row).rank < 0) {
      continue;
    }
    decode(flat_row(in.rows, row), in.scales.defined() ? flat_row(in.scales, row) : nullptr, x.data(), hidden);
    const std::span<std::uint16_t> result(row_as<std::uint16_t>(state.y, row), width);
    if (options_.layout != Layout::rank_major) {
      layer_.expert(first_expert + ids.as<std::int32_t>()[static_cast<std::size_t>(row)], x, result);
      continue;
    }
    // rank_major: the row that goes back is this rank's partial sum, ascending k, rounded once.
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (int k = 0; k < options_.top_k; ++k) {
      const auto entry = static_cast<std::size_t>(row * options_.top_k + k);
      const std::int32_t id = ids.as<std::int32_t>()[entry];
      if (id >= 0) {
        layer_.expert(first_expert + id, x, one);
        const float weight = in.weights.as<float>()[entry];
        for (std::size_t i = 0; i < width; ++i) {
          sum[i] = std::fma(weight, codecs::bf16_to_float(one[i]), sum[i]);
        }
      }
    }
    std::transform(sum.begin(), sum.end(), result.begin(), codecs::float_to_bf16);
  }
}

double Exchange::run_experts() {
  return on_all_ranks([&](int rank) { apply_experts(rank); });
}

double Exchange::combine() {
  return on_all_ranks([&](int rank) {
    RankState& state = states_[static_cast<std::size_t>(rank)];
    state.out.assign(state.x.size(), 0xFFFF);
    const CombineOptions options{.row_weights = options_.layout == Layout::rank_major
                                                    ? ConstTensorView{}
                                                    : ConstTensorView(state.received.weights)};
    state.group
        ->combine(state.y, state.received.route,
                  TensorView(state.out.data(), DType::bf16, {state.tokens(), options_.hidden}), options)
        .check();
  });
}

std::int64_t Exchange::wire_bytes() const {
  std::int64_t bytes = 0;
  for (const RankState& state : states_) {
    bytes += static_cast<std::int64_t>(state.group->statistics().wire_bytes);
  }
  return bytes;
}

}  // namespace railyard::cli::demo
