// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/routing.hpp"

#include "cli/random.hpp"

#include <railyard/gate.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace railyard::cli::bench {
namespace {

constexpr std::uint64_t kPopularityStream = 1;
constexpr std::uint64_t kFirstChoiceStream = 1000;

std::vector<std::int32_t> all_experts(int experts) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(experts));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

void normalize(float* weights, std::size_t count) {
  const float sum = std::accumulate(weights, weights + count, 0.0F);
  std::transform(weights, weights + count, weights, [sum](float weight) { return weight / sum; });
}

/// The first top_k of a random permutation.
void choose_uniformly(Random& random, std::vector<std::int32_t>& experts, std::int32_t* ids, std::size_t top_k) {
  for (std::size_t k = 0; k < top_k; ++k) {
    std::swap(experts[k], experts[k + random.below(experts.size() - k)]);
    ids[k] = experts[k];
  }
}

/// log p of every expert, up to a constant: -skew log(place in a seeded order).
std::vector<double> log_popularity(const Options& options) {
  Random random(options.seed, kPopularityStream);
  std::vector<std::int32_t> order = all_experts(options.experts);
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i)]);
  }
  std::vector<double> result(order.size());
  for (std::size_t place = 0; place < order.size(); ++place) {
    result[static_cast<std::size_t>(order[place])] = -options.skew * std::log(static_cast<double>(place) + 1.0);
  }
  return result;
}

/// Draws without replacement: the top_k largest of log p + Gumbel noise (Kool et al., arXiv:1903.06059).
void choose_by_popularity(Random& random, const std::vector<double>& popularity, std::vector<std::int32_t>& experts,
                          std::vector<double>& keys, std::int32_t* ids, std::size_t top_k) {
  for (std::size_t expert = 0; expert < keys.size(); ++expert) {
    const double uniform = std::max(random.uniform(), 0x1p-60);
    keys[expert] = popularity[expert] - std::log(-std::log(uniform));
  }
  std::partial_sort(experts.begin(), experts.begin() + static_cast<std::ptrdiff_t>(top_k), experts.end(),
                    [&](std::int32_t left, std::int32_t right) {
                      const double left_key = keys[static_cast<std::size_t>(left)];
                      const double right_key = keys[static_cast<std::size_t>(right)];
                      return left_key != right_key ? left_key > right_key : left < right;
                    });
  std::copy_n(experts.begin(), top_k, ids);
}

void choose_by_gate(const Options& options, int tokens, Random& random, Choices& choices) {
  const auto experts = static_cast<std::size_t>(options.experts);
  std::vector<float> logits(static_cast<std::size_t>(tokens) * experts);
  std::generate(logits.begin(), logits.end(), [&] { return 4.0F * random.centred(); });
  const GateOptions gate_options{.top_k = options.top_k,
                                 .score = GateScore::sigmoid,
                                 .num_groups = kRoutingGroups,
                                 .top_k_groups = kRoutingKeptGroups};
  gate(ConstTensorView(logits.data(), DType::fp32, {tokens, options.experts}), {}, gate_options,
       TensorView(choices.ids.data(), DType::int32, {tokens, options.top_k}),
       TensorView(choices.weights.data(), DType::fp32, {tokens, options.top_k}));
}

}  // namespace

Choices choose_experts(const Options& options, int tokens, int rank, int slot) {
  const auto top_k = static_cast<std::size_t>(options.top_k);
  const std::size_t entries = static_cast<std::size_t>(tokens) * top_k;
  Choices choices{std::vector<std::int32_t>(entries), std::vector<float>(entries)};
  Random random(options.seed,
                kFirstChoiceStream + static_cast<std::uint64_t>(slot) * 4096 + static_cast<std::uint64_t>(rank));
  if (options.routing == Routing::group_limited) {
    choose_by_gate(options, tokens, random, choices);
    return choices;
  }
  std::vector<std::int32_t> experts = all_experts(options.experts);
  const std::vector<double> popularity = log_popularity(options);
  std::vector<double> keys(experts.size());
  for (std::size_t first = 0; first < entries; first += top_k) {
    if (options.routing == Routing::uniform) {
      choose_uniformly(random, experts, &choices.ids[first], top_k);
    } else {
      choose_by_popularity(random, popularity, experts, keys, &choices.ids[first], top_k);
    }
    std::generate_n(choices.weights.begin() + static_cast<std::ptrdiff_t>(first), top_k,
                    [&] { return 0.125F + static_cast<float>(random.uniform()); });
    normalize(&choices.weights[first], top_k);
  }
  return choices;
}

}  // namespace railyard::cli::bench
