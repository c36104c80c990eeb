// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/verify.hpp"
#include "cli/rows.hpp"

#include <algorithm>
#include <cstring>
#include <span>

namespace railyard::cli::bench {
namespace {

/// Elements that the reference may convert: about a second.
constexpr std::int64_t kReferenceElements = 1 << 20;

reference::Bytes bytes_of(const Buffer& buffer) { return {buffer.data(), buffer.data() + buffer.bytes()}; }

reference::Config config_of(const Session& session) {
  const Options& options = session.options();
  const Payload& payload = session.payload();
  reference::Config config;
  for (int rank = 0; rank < options.ranks; ++rank) {
    config.experts_per_rank.push_back(session.placement().local_experts(rank));
    config.capacity.push_back(session.slot(rank, 0).delivery.route.capacity());
  }
  config.top_k = options.top_k;
  config.hidden = options.hidden;
  config.layout = options.layout;
  config.alignment = options.layout == Layout::expert_major ? kAlignment : 1;
  config.input = payload.input;
  if (payload.quantise) {
    config.codec = payload.codec;
  } else if (block_size(payload.codec) > 0) {
    config.input_scales = scale_type(payload.codec);
  }
  config.has_weights = true;
  return config;
}

reference::Bytes packed(const TensorView& rows, std::size_t row_bytes) {
  reference::Bytes result(static_cast<std::size_t>(num_flat_rows(rows)) * row_bytes);
  for (std::int64_t row = 0; row < num_flat_rows(rows); ++row) {
    std::memcpy(result.data() + static_cast<std::size_t>(row) * row_bytes, flat_row(rows, row), row_bytes);
  }
  return result;
}

}  // namespace

int reference_tokens(const Options& options, int tokens) {
  const std::int64_t most = kReferenceElements / options.hidden / options.ranks;
  return static_cast<int>(std::clamp<std::int64_t>(most, 1, tokens));
}

Comparison verify_against_reference(Session& session) {
  const Options& options = session.options();
  session.world().run([&](Rank& rank) {
    session.dispatch(rank.index(), 0);
    session.fetch_delivery(rank.index(), 0);
    session.make_expert_outputs(rank.index());
    session.combine(rank.index(), 0);
    session.fetch_output(rank.index(), 0);
  });
  const std::size_t row_bytes = static_cast<std::size_t>(options.hidden) * size_of(session.payload().output());
  std::vector<reference::Source> sources;
  reference::CombineInput input;
  input.y_dtype = session.payload().output();
  input.out_dtype = session.payload().output();
  for (int rank = 0; rank < options.ranks; ++rank) {
    const Slot& slot = session.slot(rank, 0);
    reference::Source& source = sources.emplace_back();
    source.tokens = session.tokens();
    source.ids.assign(slot.choices.ids.begin(), slot.choices.ids.end());
    source.weights = slot.choices.weights;
    source.x = bytes_of(slot.x);
    source.scales = bytes_of(slot.scales);
    input.y.push_back(packed(slot.y_image, row_bytes));
    if (options.layout != Layout::rank_major) {
      const auto weights = slot.delivery.weights.as<float>();
      input.row_weights.emplace_back(weights.begin(), weights.end());
    }
  }
  const reference::Config config = config_of(session);
  const reference::Result expected = reference::dispatch(config, sources);
  const std::vector<reference::Bytes> outputs = reference::combine(config, expected, input);
  Comparison result;
  for (int rank = 0; rank < options.ranks; ++rank) {
    const Slot& slot = session.slot(rank, 0);
    const auto index = static_cast<std::size_t>(rank);
    result.add(compare_dispatch(rank, slot.delivery, expected.received[index]));
    result.add(compare_output(rank, std::span(slot.out.data(), slot.out.bytes()), outputs[index], row_bytes));
  }
  return result;
}

}  // namespace railyard::cli::bench
