// SPDX-License-Identifier: Apache-2.0
// Small cases built by hand, for tests with one idea: bf16 rows copied exactly, ids without tricks, fp32 weights.
#pragma once

#include "multi_rank/expected.hpp"
#include "multi_rank/rank_run.hpp"
#include "multi_rank/report.hpp"

#include <functional>
#include <string>
#include <vector>

namespace railyard::multi_rank {

struct PlainShape {
  int ranks = 3;
  int experts_per_rank = 2;
  int tokens = 6;
  int top_k = 3;
  int hidden = 24;
};

/// Options only; `rounds` is empty.
[[nodiscard]] Scenario plain_scenario(const PlainShape& shape, Mode mode);

/// A round of one weighted dispatch and one unweighted combine (bf16), with its expectation.
struct PlainRound {
  Round round;
  ExpectedRound expected;
};
[[nodiscard]] PlainRound plain_round(const Scenario& scenario, std::uint64_t seed, Layout layout,
                                     std::int64_t capacity = 0);

/// The same inputs, and what the ranks that are left make of them.
[[nodiscard]] PlainRound without_ranks(const Scenario& scenario, const PlainRound& plain,
                                       const std::vector<int>& masked);

/// One rank's inputs of a round, in the caller's memory.
struct PlainInput {
  DeviceRows x;
  DeviceRows ids;
  Buffer weights;
  DispatchOptions options;

  PlainInput(Device device, const PlainRound& plain, int rank);
};

void check_plain(const Place& place, const Scenario& scenario, const PlainRound& plain, int rank,
                 const Dispatched& got);

/// Combines the round's y (leased) along `route`, and compares the output.
void combine_plain(const Place& place, Group& group, const Scenario& scenario, const PlainRound& plain,
                   const Route& route);

/// Dispatches, compares, combines, compares.
void round_trip(const Place& place, Group& group, const Scenario& scenario, const PlainRound& plain, Device device);

/// Runs `body` on every rank of a fresh world and returns what was reported or thrown ("" if nothing).
[[nodiscard]] std::string run_ranks(int ranks, const std::function<void(Rank&, const Place&)>& body,
                                    WorldOptions options = {});

/// The error that `call` throws; reports if it throws none, or not an Error.
[[nodiscard]] Error expect_error(const Place& place, ErrorCode code, const std::function<void()>& call);
/// The same, and every one of `parts` must be in the message.
void expect_error(const Place& place, ErrorCode code, const std::vector<std::string>& parts,
                  const std::function<void()>& call);

}  // namespace railyard::multi_rank
