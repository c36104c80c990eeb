// SPDX-License-Identifier: Apache-2.0
// One random exchange: what all ranks agree on, every rank's inputs, and how they lie in memory.
#pragma once

#include "reference/reference.hpp"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace railyard::device_tests {

/// How a caller's arrays lie, and how a launch runs: nothing that may change a result.
struct Placing {
  bool ids_are_int64 = false;
  bool tokens_on_device = false;  // the count is read from device memory
  int spare_tokens = 0;           // rows of ids above the count, then
  std::size_t row_gap = 0;        // bytes between rows
  std::size_t row_shift = 0;      // bytes before the first row
  std::size_t scale_gap = 0;
  bool scales_by_column = false;
  std::size_t out_gap = 0;    // elements between rows of out and of biases
  std::size_t out_shift = 0;  // elements before the first
  std::size_t y_gap = 0;      // multiples of 16 bytes between rows of y
  std::vector<int> blocks;    // [ranks]
  std::vector<int> combine_blocks;
  // How a block of combine works, 0: the default.
  int combine_reducers = 0;
  int combine_stages = 0;
  int combine_chunk = 0;
};

struct Scenario {
  reference::Config config;
  std::vector<reference::Source> sources;
  reference::CombineInput combine;  // y filled by make_y
  Placing placing;
  std::uint32_t seed = 0;

  [[nodiscard]] std::string describe() const;
};

struct ScenarioLimits {
  int max_tokens = 200;
  int max_hidden = 9216;
  int max_blocks = 8;
  bool only_plain = false;    // aligned, ample capacity, one size
  bool whole_chunks = false;  // combine of whole chunks of BF16 or FP16 into the same, whose kernels are its fastest
};

[[nodiscard]] Scenario random_scenario(std::uint32_t seed, int num_ranks, const ScenarioLimits& limits);

/// Random rows for combine, as many as every rank granted.
void make_y(Scenario& scenario, std::mt19937& random);

/// `count` random elements: mostly moderate values, now and then -0, denormals, infinities and NaN. Beyond a few
/// thousand they are stretches of those from random places: drawing each took most of a test's time.
[[nodiscard]] reference::Bytes random_elements(DType dtype, std::size_t count, std::mt19937& random, bool special);

}  // namespace railyard::device_tests
