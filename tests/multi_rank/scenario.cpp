// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/scenario.hpp"

#include "multi_rank/backend.hpp"
#include "multi_rank/routing_choice.hpp"
#include "reference/reference.hpp"

#include <algorithm>
#include <numeric>
#include <sstream>

namespace railyard::multi_rank {
namespace {

constexpr std::int64_t kElementBudget = 1 << 19;  // of one rank's delivered tensor

int random_hidden(Random& random, bool large) {
  if (large && random.chance(2)) {
    return random.one_of({2880, 7168});
  }
  return random.one_of({8, 8, 16, 24, 56, 120, 128, 136, 256, 264, 1000});
}

/// x, y or a bias: random content in memory of random alignment. Rows of one element type keep their own alignment.
Rows make_rows(Random& random, DType dtype, std::int64_t rows, std::int64_t columns, bool odd_memory) {
  Rows made{.dtype = dtype, .rows = rows, .columns = columns, .packed = random_rows(random, dtype, rows, columns)};
  if (odd_memory) {
    made.extra_stride = random.one_of({0, 0, 1, 3, 8, 16});
    made.misalignment = static_cast<std::size_t>(random.one_of({0, 0, 1, 2, 4, 8, 12})) * size_of(dtype);
  }
  return made;
}

std::vector<int> random_experts(Random& random, int ranks) {
  std::vector<int> experts(static_cast<std::size_t>(ranks));
  const int style = static_cast<int>(random.below(3));
  const int even = static_cast<int>(random.between(1, 6));
  for (int& count : experts) {
    count = style == 0 ? even : static_cast<int>(random.between(style == 1 ? 0 : 1, 7));
  }
  if (std::accumulate(experts.begin(), experts.end(), 0) == 0) {
    experts[static_cast<std::size_t>(random.below(ranks))] = static_cast<int>(random.between(1, 5));
  }
  return experts;
}

void choose_format(Random& random, Payload& payload) {
  payload.input = random.one_of({DType::bf16, DType::bf16, DType::fp16, DType::fp32, DType::fp8_e4m3});
  if (payload.input == DType::fp8_e4m3) {
    payload.input_scales = random.one_of<std::optional<DType>>({std::nullopt, DType::fp32, DType::uint8});
  } else {
    payload.codec =
        random.one_of<std::optional<Codec>>({std::nullopt, std::nullopt, Codec::bf16, Codec::fp16, Codec::fp32,
                                             Codec::fp8_e4m3, Codec::fp8_e4m3, Codec::fp8_e4m3_ue8m0});
  }
}

bool on_gpus() { return backend().device_kind() == DeviceKind::cuda; }

// What GPUs do so far: rank_major, rows as they are or bf16 encoded as fp8_e4m3.
void keep_to_gpus(Payload& payload) {
  if (!payload.codec || element_type(*payload.codec) == payload.input) return;
  if (block_size(*payload.codec) > 0) {
    payload.codec = Codec::fp8_e4m3;
    payload.input = DType::bf16;
  } else {
    payload.codec.reset();
  }
}

Payload make_payload(Random& random, const Scenario& scenario, Round& round, bool makes_route) {
  Payload payload;
  choose_format(random, payload);
  if (on_gpus()) keep_to_gpus(payload);
  payload.tail = random.one_of({Tail::untouched, Tail::untouched, Tail::zero, Tail::poison});
  payload.has_weights = !round.from_mask && random.chance(60);
  payload.split = random.chance(30);
  if (makes_route && random.chance(6)) {
    const int rank = static_cast<int>(random.below(scenario.ranks()));
    if (flat_rows(scenario, round, rank) > 0) {  // a rank that needs no memory cannot lack it
      payload.exhausted_rank = rank;
      round.granted[static_cast<std::size_t>(rank)] = 0;
    }
  }
  for (std::size_t r = 0; r < scenario.experts_per_rank.size(); ++r) {
    const std::int64_t rows = round.rows[r];
    payload.x.push_back(make_rows(random, payload.input, rows, scenario.options.hidden, true));
    if (payload.input_scales) {
      payload.scales.push_back(
          make_rows(random, *payload.input_scales, rows, (scenario.options.hidden + 127) / 128, true));
      payload.scales.back().column_major = random.chance(25);
    }
    if (payload.has_weights) {
      payload.weights.push_back(random_weights(random, rows * round.top_k));
    }
  }
  return payload;
}

CombineCase make_combine(Random& random, const Scenario& scenario, const Round& round) {
  CombineCase combine;
  combine.y_dtype = random.one_of({DType::bf16, DType::bf16, DType::fp16, DType::fp32});
  combine.out_dtype = random.one_of({DType::bf16, DType::bf16, DType::fp16, DType::fp32});
  combine.leased = random.chance(70);
  combine.split = random.chance(30);
  if (round.layout != Layout::rank_major) {
    combine.weighting =
        random.one_of({CombineWeights::none, CombineWeights::origin, CombineWeights::row, CombineWeights::delivered});
  }
  const int biases = static_cast<int>(random.one_of({0, 0, 1, 2}));
  const std::array<DType, 2> bias_types = {random.one_of({DType::bf16, DType::fp16, DType::fp32}),
                                           random.one_of({DType::bf16, DType::fp16, DType::fp32})};
  combine.out_extra_stride = random.one_of({0, 0, 1, 8, 24});
  combine.out_misalignment = static_cast<std::size_t>(random.one_of({0, 0, 1, 3, 8})) * size_of(combine.out_dtype);
  for (int rank = 0; rank < scenario.ranks(); ++rank) {
    const auto r = static_cast<std::size_t>(rank);
    const std::int64_t flat = flat_rows(scenario, round, rank);
    combine.y.push_back(make_rows(random, combine.y_dtype, flat, scenario.options.hidden, !combine.leased));
    combine.shortened.push_back(round.layout != Layout::expert_slots && random.chance(40));
    if (combine.weighting == CombineWeights::origin) {
      combine.weights.push_back(random_weights(random, round.rows[r] * round.top_k));
    }
    if (combine.weighting == CombineWeights::row) {
      combine.row_weights.push_back(random_weights(random, flat));
    }
    combine.biases.emplace_back();
    for (int i = 0; i < biases; ++i) {
      combine.biases.back().push_back(
          make_rows(random, bias_types[static_cast<std::size_t>(i)], round.rows[r], scenario.options.hidden, true));
    }
  }
  return combine;
}

void choose_ids(Random& random, const Scenario& scenario, Round& round) {
  const RoutingChoice choice = RoutingChoice::draw(random);
  for (std::size_t r = 0; r < scenario.experts_per_rank.size(); ++r) {
    if (round.from_mask) {
      std::vector<std::uint8_t> mask(static_cast<std::size_t>(round.rows[r] * scenario.ranks()));
      for (std::uint8_t& send : mask) {
        send = random.chance(40) ? static_cast<std::uint8_t>(random.between(1, 255)) : std::uint8_t{0};
      }
      round.mask.push_back(std::move(mask));
    } else {
      round.ids.push_back(
          random_ids(random, choice, round.rows[r], round.top_k, scenario.options.num_experts, round.id_type));
    }
  }
}

std::int64_t grant(const Scenario& scenario, const Round& round, std::size_t rank) {
  return round.capacity != 0 ? round.capacity
                             : reference::default_capacity(round.layout, scenario.ranks(), scenario.options.max_tokens,
                                                           round.from_mask ? scenario.ranks() : round.top_k,
                                                           scenario.experts_per_rank[rank], round.alignment);
}

Round make_round(Random& random, const Scenario& scenario) {
  const GroupOptions& options = scenario.options;
  Round round;
  round.layout = random.one_of({Layout::rank_major, Layout::expert_major, Layout::expert_slots});
  round.from_mask = options.mode == Mode::throughput && random.chance(8);
  if (on_gpus()) {
    round.from_mask = false;
    round.layout = Layout::rank_major;
  }
  if (round.from_mask) {
    round.layout = Layout::rank_major;
  }
  round.alignment = round.layout == Layout::expert_major ? random.one_of({1, 1, 2, 3, 4, 8, 16}) : 1;
  round.top_k = static_cast<int>(random.between(1, options.max_top_k));
  round.id_type = random.one_of({DType::int32, DType::int64});
  round.route_first = round.from_mask || random.chance(25);
  round.token_word = random.chance(20);
  round.load = random.chance(30);
  round.keep = random.chance(40);
  for (int rank = 0; rank < scenario.ranks(); ++rank) {
    const std::int64_t rows = random.chance(12) ? 0 : random.between(0, options.max_tokens);
    round.rows.push_back(rows);
    round.tokens.push_back(round.token_word && rows > 0 ? random.between(0, rows) : rows);
  }
  choose_ids(random, scenario, round);
  // Sometimes no capacity is needed, sometimes there is not enough, sometimes exactly a group's alignment.
  const std::int64_t entries = std::accumulate(round.tokens.begin(), round.tokens.end(), std::int64_t{0}) * round.top_k;
  const std::int64_t scale = round.layout == Layout::expert_slots ? options.num_experts : scenario.ranks();
  if (random.chance(55)) {
    round.capacity = 1 + random.below(2 + (random.chance(50) ? 3 : 1) * entries / scale);
  }
  for (int rank = 0; rank < scenario.ranks(); ++rank) {
    round.granted.push_back(grant(scenario, round, static_cast<std::size_t>(rank)));
    if (flat_rows(scenario, round, rank) * options.hidden > kElementBudget) {
      round.capacity = 1 + random.below(1 + kElementBudget / (std::int64_t{8} * options.hidden));
      round.granted.clear();
      rank = -1;
    }
  }
  const std::int64_t payloads = random.between(1, 2);
  for (std::int64_t i = 0; i < payloads; ++i) {
    round.payloads.push_back(make_payload(random, scenario, round, i == 0 && !round.route_first));
  }
  const bool combinable = round.layout != Layout::rank_major || options.levels == ReductionLevels::rank;
  const std::int64_t combines = combinable ? random.between(0, 2) : 0;
  for (std::int64_t i = 0; i < combines; ++i) {
    round.combines.push_back(make_combine(random, scenario, round));
  }
  return round;
}

}  // namespace

std::int64_t flat_rows(const Scenario& scenario, const Round& round, int rank) {
  const auto r = static_cast<std::size_t>(rank);
  return round.layout == Layout::expert_slots ? scenario.experts_per_rank[r] * round.granted[r] : round.granted[r];
}

Scenario make_scenario(std::uint64_t seed, const Limits& limits) {
  Random random(seed);
  Scenario scenario;
  scenario.seed = seed;
  const int most = std::min(limits.max_ranks, backend().max_ranks());
  const int ranks =
      static_cast<int>(random.chance(70) ? random.between(1, std::min(5, most)) : random.between(1, most));
  scenario.experts_per_rank = random_experts(random, ranks);
  GroupOptions& options = scenario.options;
  options.num_experts = std::accumulate(scenario.experts_per_rank.begin(), scenario.experts_per_rank.end(), 0);
  options.placement = Placement::blocks(scenario.experts_per_rank);
  if (options.placement == Placement::contiguous(options.num_experts, ranks) && random.chance(70)) {
    options.placement = {};
  }
  options.hidden = random_hidden(random, limits.large_hidden);
  options.max_top_k = static_cast<int>(random.chance(80) ? random.between(1, 8) : random.between(1, 32));
  options.max_tokens = static_cast<int>(random.between(1, options.hidden > 300 ? 12 : ranks > 5 ? 16 : 40));
  if (on_gpus() && options.hidden <= 300 && random.chance(30)) {  // blocks route many tokens together
    options.max_tokens = static_cast<int>(random.between(100, 900));
  }
  options.mode = limits.mode.value_or(random.one_of({Mode::throughput, Mode::low_latency}));
  if (on_gpus()) options.mode = Mode::throughput;
  options.levels = random.one_of({ReductionLevels::none, ReductionLevels::rank});
  options.order = options.levels == ReductionLevels::none
                      ? ReductionOrder::rank_ascending
                      : random.one_of({ReductionOrder::rank_ascending, ReductionOrder::highest_k});
  options.overflow = random.one_of({OverflowPolicy::error, OverflowPolicy::drop});
  options.max_in_flight = static_cast<int>(random.between(1, 4));
  options.row_dtype = DType::fp32;
  options.timeout = case_deadline();
  const std::int64_t rounds = random.between(1, limits.max_rounds);
  for (std::int64_t i = 0; i < rounds; ++i) {
    scenario.rounds.push_back(make_round(random, scenario));
  }
  return scenario;
}

std::string Scenario::describe() const {
  std::ostringstream text;
  text << "seed " << seed << ": ranks " << ranks() << ", experts {";
  for (const int experts : experts_per_rank) {
    text << ' ' << experts;
  }
  text << " }, hidden " << options.hidden << ", max_top_k " << options.max_top_k << ", max_tokens "
       << options.max_tokens << ", " << name(options.mode) << ", levels " << name(options.levels) << ", order "
       << name(options.order) << ", overflow " << name(options.overflow) << ", in flight " << options.max_in_flight;
  return text.str();
}

std::string describe(const Round& round) {
  std::ostringstream text;
  text << name(round.layout) << ", alignment " << round.alignment << ", capacity " << round.capacity << ", top_k "
       << round.top_k << (round.from_mask ? ", from a mask" : "") << (round.route_first ? ", route first" : "")
       << (round.token_word ? ", token word" : "") << ", ids " << name(round.id_type) << ", tokens {";
  for (const std::int64_t tokens : round.tokens) {
    text << ' ' << tokens;
  }
  text << " }";
  for (const Payload& payload : round.payloads) {
    text << "; " << name(payload.input) << (payload.input_scales ? " with scales" : "") << " as "
         << (payload.codec ? name(*payload.codec) : "it is") << ", tail " << name(payload.tail)
         << (payload.has_weights ? ", weights" : "") << (payload.split ? ", split" : "");
    if (payload.exhausted_rank >= 0) {
      text << ", heap full at rank " << payload.exhausted_rank;
    }
  }
  for (const CombineCase& combine : round.combines) {
    text << "; combine " << name(combine.y_dtype) << " to " << name(combine.out_dtype) << ", weights "
         << static_cast<int>(combine.weighting) << ", biases " << combine.biases.front().size()
         << (combine.leased ? ", leased" : "") << (combine.split ? ", split" : "");
  }
  return text.str();
}

}  // namespace railyard::multi_rank
