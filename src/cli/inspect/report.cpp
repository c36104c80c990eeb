// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/report.hpp"

#include "diagnostics/format.hpp"

#include <railyard/version.hpp>

#include <nlohmann/json.hpp>

#include <vector>

namespace railyard::cli::inspect {
namespace {

using diagnostics::format;
using nlohmann::ordered_json;

double megabytes(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-6; }

std::string text_of(const ExpertLoad& load) {
  return load.expert < 0 ? "none" : format("{}: {}", load.expert, load.entries);
}

std::string text_of(const std::optional<double>& imbalance) {
  return imbalance ? format("{:.3f}", *imbalance) : "none";
}

void print_ranks(std::FILE* stream, const Findings& findings) {
  diagnostics::print(stream,
                     "\n              rank_major      expert_major        expert_slots        over links      "
                     "expert: its entries\n"
                     "rank   tokens        rows   entries  with padding  per expert     MB in    MB out   "
                     "{:<16} {}\n",
                     "most loaded", "least loaded");
  for (std::size_t rank = 0; rank < findings.ranks.size(); ++rank) {
    const RankLoad& load = findings.ranks[rank];
    diagnostics::print(stream, "{:>4} {:>8} {:>11} {:>9} {:>13} {:>11} {:>9.2f} {:>9.2f}   {:<16} {}\n", rank,
                       load.tokens, load.rows, load.entries, load.rows_with_padding, load.slots,
                       megabytes(load.bytes_in), megabytes(load.bytes_out), text_of(load.most), text_of(load.least));
  }
}

ordered_json json_of(const ExpertLoad& load) {
  if (load.expert < 0) {
    return nullptr;
  }
  return {{"expert", load.expert}, {"entries", load.entries}};
}

ordered_json json_of(const std::optional<double>& imbalance) {
  return imbalance ? ordered_json(*imbalance) : ordered_json(nullptr);
}

ordered_json config_of(const Report& report) {
  const Options& options = report.options;
  const bool generated = options.ids.empty();
  ordered_json config;
  config["ids"] = generated ? ordered_json(nullptr) : ordered_json(options.ids);
  config["routing"] = generated ? ordered_json(name(options.routing)) : ordered_json(nullptr);
  config["skew"] = options.skew;
  config["seed"] = generated ? ordered_json(options.seed) : ordered_json(nullptr);
  config["ranks"] = options.ranks;
  config["domain_size"] = options.domain_size;
  config["experts"] = options.experts;
  config["top_k"] = report.top_k;
  config["hidden"] = options.hidden;
  config["codec"] = name(options.codec);
  config["alignment"] = options.alignment;
  return config;
}

ordered_json summary_of(const Report& report, const Tally& tally) {
  const Findings& found = report.findings;
  ordered_json summary;
  summary["tokens"] = found.tokens;
  summary["entries"] = found.entries;
  summary["none_ids"] = tally.none_ids();
  summary["rows"] = found.rows;
  summary["saved_rows"] = found.entries - found.rows;
  summary["saved_rows_percent"] = saved_percent(found.entries, found.rows);
  summary["link_bytes"] = found.links.rank_rows * report.row_bytes;
  summary["link_bytes_per_entry"] = found.links.entries * report.row_bytes;
  summary["saved_link_bytes"] = (found.links.entries - found.links.rank_rows) * report.row_bytes;
  summary["saved_link_bytes_percent"] = saved_percent(found.links.entries, found.links.rank_rows);
  summary["between_domains"] = {{"entries", found.domains.entries},
                                {"rows_per_rank", found.domains.rank_rows},
                                {"rows_per_domain", found.domains.domain_rows},
                                {"bytes_per_rank", found.domains.rank_rows * report.row_bytes},
                                {"bytes_per_domain", found.domains.domain_rows * report.row_bytes}};
  summary["imbalance"] = {{"rank_rows", json_of(found.rows_imbalance)},
                          {"rank_entries", json_of(found.entries_imbalance)},
                          {"expert_entries", json_of(found.expert_imbalance)}};
  summary["busiest_link"] = nullptr;
  if (found.busiest) {
    summary["busiest_link"] = {
        {"rank", found.busiest->rank}, {"direction", found.busiest->direction}, {"bytes", found.busiest->bytes}};
  }
  return summary;
}

}  // namespace

std::string Report::subject() const {
  if (!options.ids.empty()) {
    return format("{}: {} tokens, top-{} of {} experts", options.ids, findings.tokens, top_k, options.experts);
  }
  const std::string skew = options.routing == Routing::zipf ? format(", skew {}", options.skew) : "";
  return format("{}{}, seed {}: {} tokens per rank, top-{} of {} experts", name(options.routing), skew, options.seed,
                options.tokens, top_k, options.experts);
}

void print_report(std::FILE* stream, const Report& report) {
  const Options& options = report.options;
  const Findings& found = report.findings;
  const int num_domains = options.ranks / options.domain_size;
  diagnostics::print(stream, "railyard {}: what a routing does, over {} ranks in {} {} of {}\n", version(),
                     options.ranks, num_domains, num_domains == 1 ? "scale-up domain" : "scale-up domains",
                     options.domain_size);
  diagnostics::print(stream, "ids   {}\n", report.subject());
  diagnostics::print(stream, "rows  {}, hidden {}: {} bytes with scales; expert_major groups aligned to {}\n",
                     name(options.codec), options.hidden, report.row_bytes, options.alignment);
  print_ranks(stream, found);
  diagnostics::print(stream, "\nentries          {}; as rank_major rows {}: {} fewer, {:.1f} %\n", found.entries,
                     found.rows, found.entries - found.rows, saved_percent(found.entries, found.rows));
  diagnostics::print(stream, "over links       {:.2f} MB; a copy per entry would be {:.2f} MB: {:.1f} % saved\n",
                     megabytes(found.links.rank_rows * report.row_bytes),
                     megabytes(found.links.entries * report.row_bytes),
                     saved_percent(found.links.entries, found.links.rank_rows));
  if (num_domains > 1) {
    diagnostics::print(stream,
                       "between domains  {} rows ({:.2f} MB), one per token and rank; one per token and domain: {} "
                       "({:.2f} MB), {:.1f} % saved\n",
                       found.domains.rank_rows, megabytes(found.domains.rank_rows * report.row_bytes),
                       found.domains.domain_rows, megabytes(found.domains.domain_rows * report.row_bytes),
                       saved_percent(found.domains.rank_rows, found.domains.domain_rows));
  }
  diagnostics::print(stream, "max over mean    rows of ranks {}, entries of ranks {}, entries of experts {}\n",
                     text_of(found.rows_imbalance), text_of(found.entries_imbalance), text_of(found.expert_imbalance));
  diagnostics::print(stream, "busiest link     {}\n",
                     found.busiest ? format("rank {}, {}: {:.2f} MB", found.busiest->rank, found.busiest->direction,
                                            megabytes(found.busiest->bytes))
                                   : "none: nothing crosses a link");
}

ordered_json to_json(const Report& report, const Tally& tally) {
  ordered_json document;
  document["schema"] = 1;
  document["version"] = version();
  document["config"] = config_of(report);
  document["row_bytes"] = report.row_bytes;
  document["summary"] = summary_of(report, tally);
  document["ranks"] = ordered_json::array();
  document["rows_by_source_and_destination"] = ordered_json::array();
  for (int rank = 0; rank < tally.num_ranks(); ++rank) {
    const RankLoad& load = report.findings.ranks[static_cast<std::size_t>(rank)];
    document["ranks"].push_back({{"rank", rank},
                                 {"domain", tally.domain_of(rank)},
                                 {"tokens", load.tokens},
                                 {"rows", load.rows},
                                 {"entries", load.entries},
                                 {"rows_with_padding", load.rows_with_padding},
                                 {"slots", load.slots},
                                 {"bytes_in", load.bytes_in},
                                 {"bytes_out", load.bytes_out},
                                 {"most_loaded_expert", json_of(load.most)},
                                 {"least_loaded_expert", json_of(load.least)}});
    std::vector<std::int64_t> rows;
    for (int destination = 0; destination < tally.num_ranks(); ++destination) {
      rows.push_back(tally.rows(rank, destination));
    }
    document["rows_by_source_and_destination"].push_back(rows);
  }
  std::vector<std::int64_t> entries;
  for (int expert = 0; expert < tally.placement().num_experts(); ++expert) {
    entries.push_back(tally.expert_entries(expert));
  }
  document["entries_by_expert"] = entries;
  return document;
}

}  // namespace railyard::cli::inspect
