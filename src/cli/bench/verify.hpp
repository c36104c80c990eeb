// SPDX-License-Identifier: Apache-2.0
// Results are right before they are timed. Two checks, both bit for bit:
//   against the reference   the same configuration with few tokens: everything that dispatch and combine give
//   at full size            every row and every output element, by plain loops over the ids that share nothing with
//                           the exchange; quantised rows against the scalar encoder, which the first check holds
//                           against the reference
#pragma once

#include "cli/bench/session.hpp"
#include "cli/compare.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace railyard::cli::bench {

/// Few enough tokens for the reference, which is slow: at most `session.tokens()`.
[[nodiscard]] int reference_tokens(const Options& options, int tokens);

/// Runs slot 0 of a session and compares it with the reference.
[[nodiscard]] Comparison verify_against_reference(Session& session);

/// Runs dispatch and combine on every slot and compares what every rank got. Leaves every slot dispatched, with `y`.
[[nodiscard]] Comparison verify_at_full_size(Session& session);

/// `compare` of every rank of this process, in its thread.
[[nodiscard]] Comparison compare_ranks(Session& session, const std::function<Comparison(int rank)>& compare);

/// One row that combine adds for a token.
struct Contribution {
  int rank = 0;
  int k = 0;
  std::int64_t row = 0;  // flat, at that rank
  float weight = 1.0F;
};

/// Whether `output` is the sum of these rows of expert outputs, ordered by rank and k: levels = rank, order =
/// rank_ascending. `y`: of any rank.
[[nodiscard]] bool is_sum_of(const Options& options, TensorOf y, const std::vector<Contribution>& contributions,
                             const std::byte* output);

/// Whether all is equal; if not, the first difference goes to stderr.
[[nodiscard]] bool said_right(const Comparison& comparison);

}  // namespace railyard::cli::bench
