// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/expected.hpp"

#include <algorithm>

namespace railyard::multi_rank {
namespace {

std::vector<std::byte> first_rows(const Rows& rows, std::int64_t count) {
  const std::size_t bytes = static_cast<std::size_t>(count * rows.columns) * size_of(rows.dtype);
  return {rows.packed.begin(), rows.packed.begin() + static_cast<std::ptrdiff_t>(bytes)};
}

template <typename T>
std::vector<T> first(const std::vector<T>& values, std::int64_t count) {
  return {values.begin(), values.begin() + count};
}

reference::Config config_of(const Scenario& scenario, const Round& round, const Payload& payload) {
  reference::Config config;
  config.experts_per_rank = scenario.experts_per_rank;
  config.top_k = round.top_k;
  config.hidden = scenario.options.hidden;
  config.layout = round.layout;
  config.alignment = round.alignment;
  config.capacity = round.granted;
  const int exhausted = round.payloads.front().exhausted_rank;
  if (exhausted >= 0) {
    config.heap_exhausted.assign(round.granted.size(), false);
    config.heap_exhausted[static_cast<std::size_t>(exhausted)] = true;
  }
  config.overflow = scenario.options.overflow;
  config.levels = scenario.options.levels;
  config.order = scenario.options.order;
  config.input = payload.input;
  config.input_scales = payload.input_scales;
  config.codec = payload.codec;
  config.tail = payload.tail;
  config.has_weights = payload.has_weights;
  config.from_mask = round.from_mask;
  return config;
}

std::vector<reference::Bytes> expect_combine(const Scenario& scenario, const Round& round, const CombineCase& combine,
                                             const reference::Result& routed) {
  reference::CombineInput input;
  input.y_dtype = combine.y_dtype;
  input.out_dtype = combine.out_dtype;
  for (std::size_t r = 0; r < round.granted.size(); ++r) {
    input.y.push_back(combine.y[r].packed);
    if (combine.weighting == CombineWeights::origin) {
      input.weights.push_back(first(combine.weights[r], round.tokens[r] * round.top_k));
    } else if (combine.weighting == CombineWeights::row) {
      input.row_weights.push_back(combine.row_weights[r]);
    } else if (combine.weighting == CombineWeights::delivered && round.payloads.front().has_weights) {
      input.row_weights.push_back(routed.received[r].weights);
    }
    input.biases.emplace_back();
    for (const Rows& bias : combine.biases[r]) {
      input.biases.back().push_back({bias.dtype, first_rows(bias, round.tokens[r])});
    }
  }
  return reference::combine(config_of(scenario, round, round.payloads.front()), routed, input);
}

}  // namespace

reference::Result expect_dispatch(const Scenario& scenario, const Round& round, const Payload& payload) {
  std::vector<reference::Source> sources(round.tokens.size());
  for (std::size_t r = 0; r < sources.size(); ++r) {
    sources[r].tokens = round.tokens[r];
    if (round.from_mask) {
      sources[r].mask = first(round.mask[r], round.tokens[r] * scenario.ranks());
    } else {
      sources[r].ids = first(round.ids[r], round.tokens[r] * round.top_k);
    }
    if (payload.has_weights) {
      sources[r].weights = first(payload.weights[r], round.tokens[r] * round.top_k);
    }
    sources[r].x = first_rows(payload.x[r], round.tokens[r]);
    if (payload.input_scales) {
      sources[r].scales = first_rows(payload.scales[r], round.tokens[r]);
    }
  }
  return reference::dispatch(config_of(scenario, round, payload), sources);
}

Round without_ranks(const Scenario& scenario, Round round, const std::vector<int>& masked) {
  const std::size_t num_ranks = scenario.experts_per_rank.size();
  std::vector<bool> is_masked(num_ranks, false);
  for (const int rank : masked) is_masked[static_cast<std::size_t>(rank)] = true;
  std::vector<bool> lost;  // [experts]
  for (std::size_t r = 0; r < num_ranks; ++r) {
    lost.insert(lost.end(), static_cast<std::size_t>(scenario.experts_per_rank[r]), is_masked[r]);
  }
  for (std::size_t r = 0; r < num_ranks; ++r) {
    if (is_masked[r]) round.tokens[r] = 0;
    if (round.from_mask) {
      std::vector<std::uint8_t>& mask = round.mask[r];
      for (std::size_t i = 0; i < mask.size(); ++i) {
        if (is_masked[i % num_ranks]) mask[i] = 0;
      }
      continue;
    }
    for (std::int64_t& id : round.ids[r]) {
      if (id >= 0 && id < static_cast<std::int64_t>(lost.size()) && lost[static_cast<std::size_t>(id)]) id = -1;
    }
  }
  for (Payload& payload : round.payloads) {
    if (payload.exhausted_rank >= 0 && is_masked[static_cast<std::size_t>(payload.exhausted_rank)]) {
      payload.exhausted_rank = -1;
    }
  }
  return round;
}

std::vector<ExpectedRound> expect(const Scenario& scenario) {
  std::vector<ExpectedRound> rounds;
  for (const Round& round : scenario.rounds) {
    ExpectedRound expected;
    for (const Payload& payload : round.payloads) {
      expected.dispatched.push_back(expect_dispatch(scenario, round, payload));
    }
    for (const CombineCase& combine : round.combines) {
      expected.combined.push_back(expect_combine(scenario, round, combine, expected.dispatched.front()));
    }
    rounds.push_back(std::move(expected));
  }
  return rounds;
}

}  // namespace railyard::multi_rank
