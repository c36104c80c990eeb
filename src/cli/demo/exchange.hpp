// SPDX-License-Identifier: Apache-2.0
// One step of the layer over the ranks of a world: gate, dispatch, experts, combine. Each stage runs on all ranks at
// once and returns the seconds of the slowest one, measured from a common start.
#pragma once

#include "cli/demo/layer.hpp"
#include "cli/demo/options.hpp"
#include "cli/demo/text.hpp"

#include <railyard/exchange.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::cli::demo {

/// What one rank holds during a step.
struct RankState {
  std::optional<Group> group;
  std::vector<std::uint16_t> x;   // bf16 [tokens, hidden]
  std::vector<std::int64_t> ids;  // [tokens, top_k]
  std::vector<float> weights;     // [tokens, top_k]
  Dispatched received;
  Tensor y;                        // bf16, one row per received row
  std::vector<std::uint16_t> out;  // bf16 [tokens, hidden]

  [[nodiscard]] std::int64_t tokens() const;
};

class Exchange {
 public:
  /// Keeps references to both.
  Exchange(const Options& options, const Layer& layer);

  /// Embeds each rank's slice of the text and chooses its experts.
  double gate(std::string_view text, const std::vector<Slice>& slices);
  double dispatch();
  /// Flips one byte of one received row, chosen by the seed, and says which; nothing if no row was received.
  [[nodiscard]] std::optional<std::string> corrupt();
  double run_experts();
  double combine();

  [[nodiscard]] const std::vector<RankState>& ranks() const noexcept { return states_; }
  [[nodiscard]] const Placement& placement() const noexcept { return placement_; }
  /// Bytes that all ranks have sent over links so far.
  [[nodiscard]] std::int64_t wire_bytes() const;

 private:
  double on_all_ranks(const std::function<void(int rank)>& stage);
  void apply_experts(int rank);

  const Options& options_;
  const Layer& layer_;
  Placement placement_;
  World world_;
  std::vector<RankState> states_;
};

/// Embeds text[slice] into `x` and routes it; all vectors are resized.
void embed_and_gate(const Layer& layer, std::string_view text, Slice slice, std::vector<std::uint16_t>& x,
                    std::vector<std::int64_t>& ids, std::vector<float>& weights);

}  // namespace railyard::cli::demo
