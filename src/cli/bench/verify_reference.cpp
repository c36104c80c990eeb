// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/verify.hpp"

#include <algorithm>
#include <cstring>
#include <span>

namespace railyard::cli::bench {
namespace {

/// Elements that the reference may convert: about a second.
constexpr std::int64_t kReferenceElements = 1 << 20;

reference::Bytes rows_of(const Session& session, Content content, int rank) {
  const Buffer rows = filled(session.options().seed, session.tensor_of(content, rank, 0), session.tokens());
  return {rows.data(), rows.data() + rows.bytes()};
}

reference::Config config_of(const Session& session) {
  const Options& options = session.options();
  const Payload& payload = session.payload();
  reference::Config config;
  for (int rank = 0; rank < options.ranks; ++rank) {
    config.experts_per_rank.push_back(session.placement().local_experts(rank));
    config.capacity.push_back(session.capacity());
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

/// What the experts of `rank` return for the rows that it must receive.
reference::Bytes expert_rows(const Session& session, const reference::Delivered& received, int rank) {
  const TensorOf y = session.tensor_of(Content::y, rank, 0);
  reference::Bytes result(received.origins.size() * y.row_bytes());
  for (std::size_t row = 0; row < received.origins.size(); ++row) {
    if (received.origins[row].rank >= 0) {
      fill_row(result.data() + row * y.row_bytes(), session.options().seed, y, static_cast<std::int64_t>(row));
    }
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
  const bool has_scales = block_size(session.payload().codec) > 0 && !session.payload().quantise;
  std::vector<reference::Source> sources;
  for (int rank = 0; rank < options.ranks; ++rank) {
    const Choices& choices = session.slot(rank, 0).choices;
    reference::Source& source = sources.emplace_back();
    source.tokens = session.tokens();
    source.ids.assign(choices.ids.begin(), choices.ids.end());
    source.weights = choices.weights;
    source.x = rows_of(session, Content::x, rank);
    source.scales = has_scales ? rows_of(session, Content::scales, rank) : reference::Bytes{};
  }
  const reference::Config config = config_of(session);
  const reference::Result expected = reference::dispatch(config, sources);
  reference::CombineInput input;
  input.y_dtype = session.payload().output();
  input.out_dtype = session.payload().output();
  for (int rank = 0; rank < options.ranks; ++rank) {
    const reference::Delivered& received = expected.received[static_cast<std::size_t>(rank)];
    input.y.push_back(expert_rows(session, received, rank));
    if (options.layout != Layout::rank_major) {
      input.row_weights.push_back(received.weights);
    }
  }
  const std::vector<reference::Bytes> outputs = reference::combine(config, expected, input);
  const std::size_t row_bytes = session.tensor_of(Content::y, 0, 0).row_bytes();
  return compare_ranks(session, [&](int rank) {
    const Slot& slot = session.slot(rank, 0);
    const auto index = static_cast<std::size_t>(rank);
    Comparison result = compare_dispatch(rank, slot.delivery, expected.received[index]);
    result.add(compare_output(rank, std::span(slot.out.data(), slot.out.bytes()), outputs[index], row_bytes));
    return result;
  });
}

}  // namespace railyard::cli::bench
