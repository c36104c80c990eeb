// SPDX-License-Identifier: Apache-2.0
// Synthetic top-k choices.
#pragma once

#include "cli/random.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::cli {

enum class Routing : std::uint8_t {
  uniform,        // distinct experts, all equally likely
  zipf,           // distinct experts, the i-th most popular with probability proportional to (i + 1)^-skew
  group_limited,  // DeepSeek-V3's gate on random scores: 4 of 8 groups, then top-k
};

inline constexpr std::array kRoutings = {Routing::uniform, Routing::zipf, Routing::group_limited};

/// As the command line spells it.
[[nodiscard]] std::string_view name(Routing routing) noexcept;

/// Groups of --routing group-limited, as in DeepSeek-V3.
inline constexpr int kRoutingGroups = 8;
inline constexpr int kRoutingKeptGroups = 4;

/// Of --skew.
inline constexpr double kMostSkew = 10.0;

struct SyntheticRouting {
  int experts = 64;
  int top_k = 8;
  Routing routing = Routing::uniform;
  double skew = 0.0;  // exponent of zipf; 0 otherwise
  std::uint64_t seed = 1;

  /// Takes --routing and --skew (default of zipf: 1). Throws UsageError unless they fit each other, experts and top_k.
  void choose(const std::string& routing_name, std::optional<double> skew_given);
};

struct Choices {
  std::vector<std::int32_t> ids;  // [tokens, top_k], distinct within a token
  std::vector<float> weights;     // [tokens, top_k], positive, sum 1 per token
};

/// The choices of one rank's tokens, in pieces: how they are cut changes nothing. A pure function of its arguments.
/// The popularity of experts under zipf is one seeded permutation, the same for every rank and slot.
class ExpertChooser {
 public:
  ExpertChooser(const SyntheticRouting& routing, int rank, int slot);
  [[nodiscard]] Choices next(int tokens);

 private:
  SyntheticRouting routing_;
  Random random_;
  std::vector<std::int32_t> experts_;
  std::vector<double> popularity_;  // [experts] log p, up to a constant
  std::vector<double> keys_;        // [experts] scratch
};

/// All at once.
[[nodiscard]] Choices choose_experts(const SyntheticRouting& routing, int tokens, int rank, int slot);

}  // namespace railyard::cli
