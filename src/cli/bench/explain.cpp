// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/explain.hpp"

#include "cli/bench/timing.hpp"
#include "cli/names.hpp"
#include "cli/rows.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <bit>

namespace railyard::cli::bench {
namespace {

/// Rows of one rank as a source, in slot 0.
struct Counts {
  std::int64_t entries = 0;         // (token, expert)
  std::int64_t remote_entries = 0;  // of experts on other ranks
  std::int64_t rows = 0;            // (token, rank)
  std::int64_t remote_rows = 0;     // to other ranks
};

Counts count_rows(const Session& session, int rank) {
  Counts counts;
  const auto top_k = static_cast<std::size_t>(session.options().top_k);
  const std::vector<std::int32_t>& ids = session.slot(rank, 0).choices.ids;
  for (std::size_t first = 0; first < ids.size(); first += top_k) {
    std::vector<int> ranks;
    for (std::size_t k = 0; k < top_k; ++k) {
      const int destination = session.placement().rank_of(ids[first + k]);
      ++counts.entries;
      counts.remote_entries += destination != rank ? 1 : 0;
      if (std::find(ranks.begin(), ranks.end(), destination) == ranks.end()) {
        ranks.push_back(destination);
        ++counts.rows;
        counts.remote_rows += destination != rank ? 1 : 0;
      }
    }
  }
  return counts;
}

/// Flat rows at `rank` that hold no token although they lie between rows that do.
std::int64_t padding_rows(const Session& session, int rank) {
  if (session.options().layout != Layout::expert_major) {
    return 0;
  }
  const Arrivals arrivals =
      arrivals_at(session.options(), session.placement(), session.choices(0), rank, session.capacity());
  return arrivals.needed - static_cast<std::int64_t>(arrivals.rows.size());
}

void explain_bytes(const Session& session, std::FILE* stream) {
  const auto row = static_cast<double>(session.payload().wire_row_bytes(session.options().hidden)) * 1e-6;
  diagnostics::print(
      stream, "rank    rows of {:.0f} bytes: to itself  over links     MB  | one per expert  MB  | padding received\n",
      row * 1e6);
  for (int rank = 0; rank < session.options().ranks; ++rank) {
    const Counts counts = count_rows(session, rank);
    diagnostics::print(stream, "{:>4} {:>35} {:>11} {:>8.2f} | {:>8} {:>8.2f} | {:>8}\n", rank,
                       counts.rows - counts.remote_rows, counts.remote_rows,
                       static_cast<double>(counts.remote_rows) * row, counts.remote_entries,
                       static_cast<double>(counts.remote_entries) * row, padding_rows(session, rank));
  }
}

const Result* find_result(const Session& session, const Run& run, std::string_view operation) {
  const Result* found = nullptr;
  for (const Result& result : run.results) {
    if (result.operation == operation && result.tokens == session.tokens() &&
        (operation != "dispatch" || result.quantise == session.payload().quantise)) {
      found = &result;
    }
  }
  return found;
}

void explain_time(const Result& result, const std::vector<std::pair<std::string, double>>& parts, std::FILE* stream) {
  const double total = result.times->median_us;
  diagnostics::print(stream, "{}: median {:.1f} us, p99 {:.1f} us\n", result.operation, total, result.times->p99_us);
  for (const auto& [what, microseconds] : parts) {
    diagnostics::print(stream, "  {:>9.1f} us {:>5.1f} %  {}\n", microseconds, 100.0 * microseconds / total, what);
  }
}

}  // namespace

void explain(Session& session, std::FILE* stream, const Run& run) {
  const Options& options = session.options();
  diagnostics::print(stream, "\n{} tokens per rank, {}{}: {} slots rotate, capacity {} rows\n", session.tokens(),
                     name(session.payload().codec), session.payload().quantise ? " quantised on the way" : "",
                     session.num_slots(), session.capacity());
  explain_bytes(session, stream);

  const Result* dispatch = find_result(session, run, "dispatch");
  const Result* route = find_result(session, run, "route");
  const Result* combine = session.payload().quantise ? nullptr : find_result(session, run, "combine");
  session.world().run([&](Rank& rank) {
    for (int slot = 0; slot < session.num_slots(); ++slot) {
      session.route(rank.index(), slot);
    }
  });
  const auto slot_of = [&](int iteration) { return iteration % session.num_slots(); };
  const Series along_route =
      time_together(session.world(), std::max(options.warmup, session.num_slots()), options.iterations,
                    {.prepare = [&](int rank, int iteration) { session.release(rank, slot_of(iteration)); },
                     .work = [&](int rank, int iteration) { session.dispatch_along_route(rank, slot_of(iteration)); }});

  const double total = dispatch->times->median_us;
  const double limit = total / dispatch->limit_ratio.value();
  std::vector<std::pair<std::string, double>> parts = {
      {"limit: memcpy of the rows that are put in place, as many threads", limit},
      {"the same dispatch along an existing route (no ids to count, no route to build)", along_route.median()},
      {"making the route within the dispatch: the difference", total - along_route.median()}};
  if (route != nullptr) {
    parts.emplace_back("route alone, for comparison", route->times->median_us);
  }
  if (run.limits.encode_gbps && session.payload().quantise) {
    const double input = static_cast<double>(options.hidden) * session.tokens() * 2.0;
    parts.emplace_back("quantising this rank's tokens alone, at the measured rate",
                       input / *run.limits.encode_gbps * 1e-3);
  }
  parts.emplace_back("beyond the limit: waiting for peers, ids, weights, padding, caches",
                     along_route.median() - limit);
  explain_time(*dispatch, parts, stream);
  if (combine != nullptr && combine->limit_ratio) {
    const double combine_limit = combine->times->median_us / *combine->limit_ratio;
    explain_time(
        *combine,
        {{"limit: memcpy that reads and writes as many bytes in all", combine_limit},
         {"memcpy of as many bytes as are read and written (twice that)", 2.0 * combine_limit},
         {"beyond the limit: conversion and sums, waiting for peers", combine->times->median_us - combine_limit}},
        stream);
  }
}

}  // namespace railyard::cli::bench
