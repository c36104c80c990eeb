// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/report.hpp"

#include "cli/names.hpp"
#include "diagnostics/format.hpp"
#include "reference/row_codec.hpp"

#include <railyard/version.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <numeric>

namespace railyard::cli::demo {
namespace {

/// More sources than this do not fit on a line.
constexpr int kMostColumns = 16;

std::int64_t sum_of(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

double megabytes(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-6; }

/// Share of the undeduplicated bytes that did not have to be sent, in percent.
double saved_percent(const Totals& totals) {
  return totals.undeduplicated_bytes == 0 ? 0.0
                                          : 100.0 * (1.0 - static_cast<double>(totals.dispatch_bytes) /
                                                               static_cast<double>(totals.undeduplicated_bytes));
}

void print_rows(std::FILE* stream, const Options& options, const Totals& totals) {
  const bool sources = options.ranks <= kMostColumns;
  diagnostics::print(stream, "\nrank  tokens    rows");
  for (int source = 0; sources && source < options.ranks; ++source) {
    diagnostics::print(stream, " {:>6}", diagnostics::format("from {}", source));
  }
  diagnostics::print(stream, "   entries per expert: min   mean    max\n");
  for (std::size_t rank = 0; rank < totals.rows.size(); ++rank) {
    diagnostics::print(stream, "{:>4} {:>7} {:>7}", rank, totals.tokens[rank], sum_of(totals.rows[rank]));
    for (std::size_t source = 0; sources && source < totals.rows.size(); ++source) {
      diagnostics::print(stream, " {:>6}", totals.rows[rank][source]);
    }
    const std::vector<std::int64_t>& entries = totals.expert_entries[rank];
    if (entries.empty()) {
      diagnostics::print(stream, "   (no experts)\n");
      continue;
    }
    const auto [least, most] = std::minmax_element(entries.begin(), entries.end());
    diagnostics::print(stream, "   {:>23} {:>6.1f} {:>6}\n", *least,
                       static_cast<double>(sum_of(entries)) / static_cast<double>(entries.size()), *most);
  }
}

}  // namespace

void Totals::add_routes(const Options& options, const Exchange& exchange) {
  const std::size_t ranks = exchange.ranks().size();
  tokens.resize(ranks);
  rows.resize(ranks, std::vector<std::int64_t>(ranks));
  expert_entries.resize(ranks);
  const auto row_bytes = static_cast<std::int64_t>(reference::row_bytes(options.codec, options.hidden) +
                                                   reference::scale_bytes(options.codec, options.hidden));
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const RankState& state = exchange.ranks()[rank];
    tokens[rank] += state.tokens();
    const auto counts = state.received.route.receive_counts().as<std::int32_t>();
    for (std::size_t source = 0; source < ranks; ++source) {
      rows[rank][source] += counts[source];
    }
    const auto entries = state.received.route.expert_counts().as<std::int32_t>();
    expert_entries[rank].resize(entries.size());
    for (std::size_t expert = 0; expert < entries.size(); ++expert) {
      expert_entries[rank][expert] += entries[expert];
    }
    for (const std::int64_t id : state.ids) {
      if (exchange.placement().rank_of(static_cast<int>(id)) != static_cast<int>(rank)) {
        undeduplicated_bytes += row_bytes;
      }
    }
  }
}

void print_report(std::FILE* stream, const Options& options, std::size_t text_bytes, const Totals& totals) {
  diagnostics::print(stream, "railyard {}: a Mixture-of-Experts layer over {} ranks (threads)\n", version(),
                     options.ranks);
  diagnostics::print(stream, "text      {}, {} bytes; each byte is a token; {} {} of up to {} tokens per rank\n",
                     options.text.empty() ? "built in" : options.text, text_bytes, totals.steps,
                     totals.steps == 1 ? "step" : "steps", options.tokens);
  diagnostics::print(stream, "layer     hidden {}, {} SwiGLU experts of width {}, top-{} in {} of {} groups, seed {}\n",
                     options.hidden, options.experts, options.intermediate, options.top_k, options.kept_groups,
                     options.groups, options.seed);
  diagnostics::print(stream, "exchange  {}, {}, codec {}, levels {}\n", name(options.mode), name(options.layout),
                     name(options.codec), name(options.levels));
  for (const std::string& corrupted : totals.corrupted) {
    diagnostics::print(stream, "corrupted {}\n", corrupted);
  }
  print_rows(stream, options, totals);
  diagnostics::print(stream, "\nbytes over links: dispatch {:.2f} MB, combine {:.2f} MB\n",
                     megabytes(totals.dispatch_bytes), megabytes(totals.combine_bytes));
  if (totals.dispatch_bytes < totals.undeduplicated_bytes) {
    diagnostics::print(
        stream,
        "a copy per (token, expert on another rank) would be {:.2f} MB: sending each rank a token once saves "
        "{:.1f} %\n",
        megabytes(totals.undeduplicated_bytes), saved_percent(totals));
  } else {
    diagnostics::print(stream, "this layout was sent a copy per (token, expert on another rank): nothing saved\n");
  }
  const StageSeconds& seconds = totals.seconds;
  diagnostics::print(stream,
                     "time, slowest rank: gate {:.1f} ms, dispatch {:.1f} ms, experts {:.1f} ms, combine {:.1f} ms\n",
                     1e3 * seconds.gate, 1e3 * seconds.dispatch, 1e3 * seconds.experts, 1e3 * seconds.combine);
}

std::string verdict(const Options& options, const Totals& totals) {
  const Verification& result = totals.verification;
  const std::int64_t tokens = sum_of(totals.tokens);
  if (!result.ok()) {
    std::string text = "verified: no";
    for (const Comparison* comparison : {&result.rows, &result.combined, &result.dense}) {
      if (!comparison->equal()) {
        text += diagnostics::format("{} {}",
                                    comparison == &result.rows       ? ", received rows:"
                                    : comparison == &result.combined ? ", combine:"
                                                                     : ", output:",
                                    diagnostics::format("{} of {} wrong, first {}", comparison->different,
                                                        comparison->compared, comparison->first_difference));
      }
    }
    return text;
  }
  const std::string dense =
      options.levels == ReductionLevels::none
          ? std::string("the dense layer bit for bit")
          : diagnostics::format(
                "the dense layer within the bound of rounding partial sums (largest error {:.2f} of it)",
                result.largest_error);
  std::int64_t rows = 0;
  for (const auto& from_sources : totals.rows) {
    rows += sum_of(from_sources);
  }
  return diagnostics::format(
      "verified: yes, {} received rows and the combine of {} tokens equal the reference bit for bit; the output equals "
      "{}",
      rows, tokens, dense);
}

nlohmann::ordered_json to_json(const Options& options, std::size_t text_bytes, const Totals& totals) {
  nlohmann::ordered_json document;
  document["schema"] = 1;
  document["config"] = {{"ranks", options.ranks},         {"text", options.text.empty() ? "built in" : options.text},
                        {"text_bytes", text_bytes},       {"tokens", options.tokens},
                        {"hidden", options.hidden},       {"intermediate", options.intermediate},
                        {"experts", options.experts},     {"top_k", options.top_k},
                        {"groups", options.groups},       {"kept_groups", options.kept_groups},
                        {"layout", name(options.layout)}, {"codec", name(options.codec)},
                        {"mode", name(options.mode)},     {"levels", name(options.levels)},
                        {"seed", options.seed},           {"corrupt", options.corrupt}};
  document["steps"] = totals.steps;
  document["tokens_by_rank"] = totals.tokens;
  document["rows_by_rank_and_source"] = totals.rows;
  document["entries_by_rank_and_expert"] = totals.expert_entries;
  document["dispatch_wire_bytes"] = totals.dispatch_bytes;
  document["combine_wire_bytes"] = totals.combine_bytes;
  document["undeduplicated_bytes"] = totals.undeduplicated_bytes;
  document["seconds"] = {{"gate", totals.seconds.gate},
                         {"dispatch", totals.seconds.dispatch},
                         {"experts", totals.seconds.experts},
                         {"combine", totals.seconds.combine}};
  document["largest_error"] = totals.verification.largest_error;
  document["verified"] = totals.verification.ok();
  return document;
}

}  // namespace railyard::cli::demo
