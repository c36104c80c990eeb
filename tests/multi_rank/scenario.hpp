// SPDX-License-Identifier: Apache-2.0
// One random case of the property suite: a group and the rounds that it runs, every byte decided by the seed.
#pragma once

#include "multi_rank/random.hpp"

#include <railyard/group.hpp>
#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace railyard::multi_rank {

/// A matrix and how the caller's memory holds it.
struct Rows {
  DType dtype = DType::bf16;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::byte> packed;
  std::int64_t extra_stride = 0;  // elements between the end of a row and the next
  std::size_t misalignment = 0;   // bytes past an aligned address
  bool column_major = false;      // elements of a column follow each other; scales only
};

/// A dispatch along a round's route.
struct Payload {
  DType input = DType::bf16;
  std::optional<DType> input_scales;
  std::optional<Codec> codec;
  Tail tail = Tail::untouched;
  bool has_weights = false;
  bool split = false;       // send and receive parts
  int exhausted_rank = -1;  // its heap is full while this runs; only where the dispatch makes the route
  std::vector<Rows> x;      // [ranks]
  std::vector<Rows> scales;
  std::vector<std::vector<float>> weights;
};

enum class CombineWeights : std::uint8_t { none, origin, row, delivered };

struct CombineCase {
  DType y_dtype = DType::bf16;
  DType out_dtype = DType::bf16;
  bool leased = true;  // y from Group::allocate, else the caller's memory
  bool split = false;
  CombineWeights weighting = CombineWeights::none;
  std::vector<Rows> y;          // [ranks], with the shape of the delivered rows; garbage where no token is
  std::vector<bool> shortened;  // [ranks] pass only the rows that hold a token
  std::vector<std::vector<float>> weights;
  std::vector<std::vector<float>> row_weights;
  std::vector<std::vector<Rows>> biases;  // [ranks][0..2]
  std::int64_t out_extra_stride = 0;
  std::size_t out_misalignment = 0;
};

struct Round {
  Layout layout = Layout::rank_major;
  int alignment = 1;
  std::int64_t capacity = 0;  // 0: the default
  int top_k = 1;
  DType id_type = DType::int32;
  bool from_mask = false;
  bool route_first = false;          // Group::route, then dispatches along it
  bool token_word = false;           // the ids have more rows than the word of the device says
  bool load = false;                 // accumulate expert_load
  bool keep = false;                 // hold everything to the end of the case and look again
  std::vector<std::int64_t> tokens;  // [ranks]
  std::vector<std::int64_t> rows;    // [ranks] rows of the ids, >= tokens
  std::vector<std::vector<std::int64_t>> ids;
  std::vector<std::vector<std::uint8_t>> mask;
  std::vector<Payload> payloads;
  std::vector<CombineCase> combines;
  /// Rows granted by each rank (expert_slots: per expert).
  std::vector<std::int64_t> granted;
};

struct Scenario {
  std::uint64_t seed = 0;
  std::vector<int> experts_per_rank;
  GroupOptions options;
  std::vector<Round> rounds;

  [[nodiscard]] int ranks() const { return static_cast<int>(experts_per_rank.size()); }
  /// One line, for messages.
  [[nodiscard]] std::string describe() const;
};

/// What a case may contain; tests with one idea narrow it.
struct Limits {
  std::optional<Mode> mode;
  int max_ranks = 16;
  int max_rounds = 3;
  bool large_hidden = true;
};

[[nodiscard]] Scenario make_scenario(std::uint64_t seed, const Limits& limits = {});
[[nodiscard]] std::string describe(const Round& round);

/// Flat rows of rank's delivered tensor.
[[nodiscard]] std::int64_t flat_rows(const Scenario& scenario, const Round& round, int rank);

}  // namespace railyard::multi_rank
