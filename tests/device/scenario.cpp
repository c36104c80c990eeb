// SPDX-License-Identifier: Apache-2.0
#include "device/scenario.hpp"

#include "codecs/element.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <sstream>

namespace railyard::device_tests {
namespace {

int pick(std::mt19937& random, std::initializer_list<int> choices) {
  return *(choices.begin() + random() % choices.size());
}

bool chance(std::mt19937& random, unsigned one_in) { return random() % one_in == 0; }

std::uint32_t random_code(DType dtype, std::mt19937& random, bool special) {
  if (special && chance(random, 64)) return static_cast<std::uint32_t>(random());
  if (special && chance(random, 64)) return 1U << (size_of(dtype) * 8 - 1);  // -0, of floating point
  const float value = (static_cast<float>(random() % 65536) / 65536.0F - 0.5F) * 4.0F;
  switch (dtype) {
    case DType::bf16:
      return codecs::float_to_bf16(value);
    case DType::fp16:
      return codecs::float_to_fp16(value);
    case DType::fp32:
      return codecs::bits_of(value);
    default:
      return static_cast<std::uint32_t>(random());
  }
}

void choose_rows(Scenario& scenario, std::mt19937& random) {
  reference::Config& config = scenario.config;
  switch (random() % 6) {
    case 0:
      config.input = DType::fp32;
      break;
    case 1:
      config.input = DType::fp8_e4m3;
      config.input_scales = DType::fp32;
      break;
    case 2:
      config.input = DType::fp8_e4m3;
      config.input_scales = DType::uint8;
      break;
    case 3:
      config.input = DType::bf16;
      break;
    default:
      config.input = DType::bf16;
      config.codec = Codec::fp8_e4m3;
  }
}

void choose_capacity(Scenario& scenario, std::mt19937& random, bool plain) {
  reference::Config& config = scenario.config;
  std::int64_t tokens = 0;
  for (const reference::Source& source : scenario.sources) tokens += source.tokens;
  for (int rank = 0; rank < config.num_ranks(); ++rank) {
    std::int64_t capacity = tokens + static_cast<std::int64_t>(random() % 40);
    if (!plain && chance(random, 6)) capacity = static_cast<std::int64_t>(random() % static_cast<unsigned>(tokens + 1));
    const bool exhausted = !plain && chance(random, 25);
    config.heap_exhausted.push_back(exhausted);
    config.capacity.push_back(exhausted ? 0 : capacity);
  }
}

reference::Source random_source(const reference::Config& config, std::int64_t tokens, std::mt19937& random,
                                bool plain) {
  reference::Source source;
  source.tokens = tokens;
  const int num_experts = std::accumulate(config.experts_per_rank.begin(), config.experts_per_rank.end(), 0);
  const bool skewed = !plain && chance(random, 4);
  for (std::int64_t entry = 0; entry < tokens * config.top_k; ++entry) {
    std::int64_t id = static_cast<std::int64_t>(random() % static_cast<unsigned>(num_experts));
    if (skewed && !chance(random, 3)) id = 0;
    if (chance(random, 12)) id = -1;
    if (!plain && chance(random, 300)) id = chance(random, 2) ? num_experts + 3 : -7;
    source.ids.push_back(id);
    if (config.has_weights) source.weights.push_back(static_cast<float>(random() % 1000) / 1000.0F);
  }
  const auto rows = static_cast<std::size_t>(tokens);
  source.x = random_elements(config.input, rows * static_cast<std::size_t>(config.hidden), random, true);
  if (config.input_scales) {
    const auto scales = static_cast<std::size_t>((config.hidden + 127) / 128);
    source.scales = random_elements(*config.input_scales, rows * scales, random, false);
  }
  return source;
}

void choose_placing(Scenario& scenario, std::mt19937& random, const ScenarioLimits& limits) {
  Placing& placing = scenario.placing;
  const int num_ranks = scenario.config.num_ranks();
  for (int rank = 0; rank < num_ranks; ++rank) {
    placing.blocks.push_back(1 + static_cast<int>(random() % static_cast<unsigned>(limits.max_blocks)));
    placing.combine_blocks.push_back(1 + static_cast<int>(random() % static_cast<unsigned>(limits.max_blocks)));
  }
  placing.ids_are_int64 = chance(random, 2);
  placing.combine_reducers = pick(random, {0, 0, 1, 3});
  placing.combine_stages = pick(random, {0, 0, 2, 3});
  placing.combine_chunk = pick(random, {0, 0, 512, 1536, 2560});
  if (limits.only_plain || limits.whole_chunks) return;
  placing.tokens_on_device = chance(random, 3);
  placing.spare_tokens = placing.tokens_on_device ? static_cast<int>(random() % 50) : 0;
  const auto element = static_cast<unsigned>(size_of(scenario.config.input));
  if (chance(random, 2)) placing.row_gap = static_cast<std::size_t>(pick(random, {16, 32, 8, 4, 2, 1})) * element;
  if (chance(random, 4)) placing.row_shift = static_cast<std::size_t>(pick(random, {16, 8, 3})) * element;
  placing.scales_by_column = chance(random, 3);
  if (chance(random, 3)) placing.scale_gap = static_cast<std::size_t>(pick(random, {1, 4, 16}));
  if (chance(random, 3)) placing.out_gap = static_cast<std::size_t>(pick(random, {1, 4, 8}));
  if (chance(random, 4)) placing.out_shift = static_cast<std::size_t>(pick(random, {1, 2, 8}));
  if (chance(random, 3)) placing.y_gap = static_cast<std::size_t>(pick(random, {16, 48}));
}

void choose_combine(Scenario& scenario, std::mt19937& random, const ScenarioLimits& limits) {
  constexpr DType kFloats[] = {DType::bf16, DType::fp16, DType::fp32};
  const reference::Config& config = scenario.config;
  scenario.combine.y_dtype = chance(random, 2) ? DType::bf16 : kFloats[random() % 3];
  scenario.combine.out_dtype = chance(random, 2) ? DType::bf16 : kFloats[random() % 3];
  if (limits.whole_chunks) {
    scenario.combine.y_dtype = kFloats[random() % 2];
    scenario.combine.out_dtype = scenario.combine.y_dtype;
    return;
  }
  const int num_biases = pick(random, {0, 0, 1, 2});
  if (num_biases == 0) return;
  DType dtypes[2] = {kFloats[random() % 3], kFloats[random() % 3]};
  for (const reference::Source& source : scenario.sources) {
    std::vector<reference::Bias> biases;
    for (int i = 0; i < num_biases; ++i) {
      const auto count = static_cast<std::size_t>(source.tokens) * static_cast<std::size_t>(config.hidden);
      biases.push_back({dtypes[i], random_elements(dtypes[i], count, random, true)});
    }
    scenario.combine.biases.push_back(std::move(biases));
  }
}

}  // namespace

reference::Bytes random_elements(DType dtype, std::size_t count, std::mt19937& random, bool special) {
  constexpr std::size_t kDrawn = 16384;
  constexpr std::size_t kStretch = 512;
  const std::size_t size = size_of(dtype);
  reference::Bytes bytes(count * size);
  const std::size_t drawn = std::min(count, kDrawn);
  for (std::size_t i = 0; i < drawn; ++i) {
    const std::uint32_t code = random_code(dtype, random, special);
    std::memcpy(bytes.data() + i * size, &code, size);
  }
  for (std::size_t i = drawn; i < count; i += kStretch) {
    const std::size_t from = random() % (kDrawn - kStretch);
    std::memcpy(bytes.data() + i * size, bytes.data() + from * size, std::min(kStretch, count - i) * size);
  }
  return bytes;
}

Scenario random_scenario(std::uint32_t seed, int num_ranks, const ScenarioLimits& limits) {
  std::mt19937 random(seed);
  Scenario scenario;
  scenario.seed = seed;
  reference::Config& config = scenario.config;
  for (int rank = 0; rank < num_ranks; ++rank) {
    config.experts_per_rank.push_back(limits.only_plain ? 8 : static_cast<int>(random() % 12));
  }
  config.experts_per_rank[random() % static_cast<unsigned>(num_ranks)] += 1;
  if (!limits.only_plain && chance(random, 20)) config.experts_per_rank[0] += 5000;
  config.top_k = pick(random, {1, 2, 3, 4, 6, 8, 8, 8, 32});
  config.hidden = std::min(pick(random, {8, 24, 128, 136, 256, 1000, 2880, 7168, 9216}), limits.max_hidden);
  if (limits.whole_chunks) config.hidden = pick(random, {1024, 1280, 1536, 1792, 4096, 5120, 6144, 7168});
  config.overflow = chance(random, 2) ? OverflowPolicy::error : OverflowPolicy::drop;
  config.order = chance(random, 2) ? ReductionOrder::rank_ascending : ReductionOrder::highest_k;
  config.has_weights = chance(random, 2);
  config.tail = static_cast<Tail>(random() % 3);
  choose_rows(scenario, random);
  for (int rank = 0; rank < num_ranks; ++rank) {
    std::int64_t tokens = static_cast<std::int64_t>(random() % static_cast<unsigned>(limits.max_tokens + 1));
    if (!limits.only_plain && chance(random, 8)) tokens = 0;
    scenario.sources.push_back(random_source(config, tokens, random, limits.only_plain));
  }
  choose_capacity(scenario, random, limits.only_plain);
  choose_combine(scenario, random, limits);
  choose_placing(scenario, random, limits);
  make_y(scenario, random);
  return scenario;
}

void make_y(Scenario& scenario, std::mt19937& random) {
  scenario.combine.y.clear();
  for (const std::int64_t capacity : scenario.config.capacity) {
    const auto count = static_cast<std::size_t>(capacity) * static_cast<std::size_t>(scenario.config.hidden);
    scenario.combine.y.push_back(random_elements(scenario.combine.y_dtype, count, random, true));
  }
}

std::string Scenario::describe() const {
  std::ostringstream text;
  text << "seed " << seed << ", ranks " << config.num_ranks() << ", hidden " << config.hidden << ", top_k "
       << config.top_k << ", input " << name(config.input) << (config.codec ? " quantised" : "") << ", y "
       << name(combine.y_dtype) << ", out " << name(combine.out_dtype) << ", tokens";
  for (const reference::Source& source : sources) text << ' ' << source.tokens;
  return text.str();
}

}  // namespace railyard::device_tests
