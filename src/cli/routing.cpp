// SPDX-License-Identifier: Apache-2.0
#include "cli/routing.hpp"

#include "cli/names.hpp"
#include "diagnostics/format.hpp"

#include <railyard/gate.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace railyard::cli {
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
std::vector<double> log_popularity(const SyntheticRouting& routing) {
  Random random(routing.seed, kPopularityStream);
  std::vector<std::int32_t> order = all_experts(routing.experts);
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i)]);
  }
  std::vector<double> result(order.size());
  for (std::size_t place = 0; place < order.size(); ++place) {
    result[static_cast<std::size_t>(order[place])] = -routing.skew * std::log(static_cast<double>(place) + 1.0);
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

void choose_by_gate(const SyntheticRouting& routing, int tokens, Random& random, Choices& choices) {
  const auto experts = static_cast<std::size_t>(routing.experts);
  std::vector<float> logits(static_cast<std::size_t>(tokens) * experts);
  std::generate(logits.begin(), logits.end(), [&] { return 4.0F * random.centred(); });
  const GateOptions gate_options{.top_k = routing.top_k,
                                 .score = GateScore::sigmoid,
                                 .num_groups = kRoutingGroups,
                                 .top_k_groups = kRoutingKeptGroups};
  gate(ConstTensorView(logits.data(), DType::fp32, {tokens, routing.experts}), {}, gate_options,
       TensorView(choices.ids.data(), DType::int32, {tokens, routing.top_k}),
       TensorView(choices.weights.data(), DType::fp32, {tokens, routing.top_k}));
}

}  // namespace

std::string_view name(Routing routing) noexcept {
  switch (routing) {
    case Routing::uniform:
      return "uniform";
    case Routing::zipf:
      return "zipf";
    case Routing::group_limited:
      return "group-limited";
  }
  return "";
}

void SyntheticRouting::choose(const std::string& routing_name, std::optional<double> skew_given) {
  routing = value_of("--routing", routing_name, kRoutings);
  if (skew_given && routing != Routing::zipf) {
    throw UsageError(diagnostics::format("--skew is {}; it belongs to --routing zipf, and the routing is {}",
                                         *skew_given, routing_name));
  }
  skew = routing == Routing::zipf ? skew_given.value_or(1.0) : 0.0;
  if (top_k > experts) {
    throw UsageError(diagnostics::format("--top-k is {}, more than the {} experts", top_k, experts));
  }
  const int most = experts / kRoutingGroups * kRoutingKeptGroups;
  if (routing == Routing::group_limited && (experts % kRoutingGroups != 0 || top_k > most)) {
    throw UsageError(
        diagnostics::format("--routing group-limited keeps {} of {} groups: --experts is {} and must be a multiple "
                            "of {}, --top-k is {} and at most {}",
                            kRoutingKeptGroups, kRoutingGroups, experts, kRoutingGroups, top_k, most));
  }
}

ExpertChooser::ExpertChooser(const SyntheticRouting& routing, int rank, int slot)
    : routing_(routing),
      random_(routing.seed,
              kFirstChoiceStream + static_cast<std::uint64_t>(slot) * 4096 + static_cast<std::uint64_t>(rank)) {
  if (routing.routing != Routing::group_limited) {
    experts_ = all_experts(routing.experts);
  }
  if (routing.routing == Routing::zipf) {
    popularity_ = log_popularity(routing);
    keys_.resize(popularity_.size());
  }
}

Choices ExpertChooser::next(int tokens) {
  const auto top_k = static_cast<std::size_t>(routing_.top_k);
  const std::size_t entries = static_cast<std::size_t>(tokens) * top_k;
  Choices choices{std::vector<std::int32_t>(entries), std::vector<float>(entries)};
  if (routing_.routing == Routing::group_limited) {
    choose_by_gate(routing_, tokens, random_, choices);
    return choices;
  }
  for (std::size_t first = 0; first < entries; first += top_k) {
    if (routing_.routing == Routing::uniform) {
      choose_uniformly(random_, experts_, &choices.ids[first], top_k);
    } else {
      choose_by_popularity(random_, popularity_, experts_, keys_, &choices.ids[first], top_k);
    }
    std::generate_n(choices.weights.begin() + static_cast<std::ptrdiff_t>(first), top_k,
                    [&] { return 0.125F + static_cast<float>(random_.uniform()); });
    normalize(&choices.weights[first], top_k);
  }
  return choices;
}

Choices choose_experts(const SyntheticRouting& routing, int tokens, int rank, int slot) {
  return ExpertChooser(routing, rank, slot).next(tokens);
}

}  // namespace railyard::cli
