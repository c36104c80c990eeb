// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/tally.hpp"

#include <algorithm>
#include <numeric>

namespace railyard::cli::inspect {
namespace {

/// The same experts on domains: those of a domain's ranks are consecutive.
Placement domains_of(const Placement& by_rank, int domain_size) {
  std::vector<int> experts(static_cast<std::size_t>(by_rank.num_ranks() / domain_size));
  for (std::size_t domain = 0; domain < experts.size(); ++domain) {
    const int first_rank = static_cast<int>(domain) * domain_size;
    experts[domain] = by_rank.first_expert(first_rank + domain_size) - by_rank.first_expert(first_rank);
  }
  return Placement::blocks(experts);
}

std::optional<double> imbalance_of(const std::vector<std::int64_t>& loads) {
  const auto sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (sum == 0) {
    return std::nullopt;
  }
  const std::int64_t most = *std::max_element(loads.begin(), loads.end());
  return static_cast<double>(most) * static_cast<double>(loads.size()) / static_cast<double>(sum);
}

/// What the experts of `rank` receive.
void add_experts(const Tally& tally, int rank, int alignment, RankLoad& load) {
  const int first = tally.placement().first_expert(rank);
  for (int local = 0; local < tally.placement().local_experts(rank); ++local) {
    const ExpertLoad expert{first + local, tally.expert_entries(first + local)};
    load.entries += expert.entries;
    load.rows_with_padding += (expert.entries + alignment - 1) / alignment * alignment;
    if (local == 0 || expert.entries > load.most.entries) {
      load.most = expert;
    }
    if (local == 0 || expert.entries < load.least.entries) {
      load.least = expert;
    }
  }
  load.slots = load.most.entries;
}

void consider(std::optional<BusiestLink>& busiest, const BusiestLink& link) {
  if (link.bytes > (busiest ? busiest->bytes : 0)) {
    busiest = link;
  }
}

}  // namespace

Tally::Tally(int num_experts, int num_ranks, int domain_size)
    : by_rank_(Placement::contiguous(num_experts, num_ranks)),
      by_domain_(domains_of(by_rank_, domain_size)),
      domain_size_(domain_size),
      tokens_(static_cast<std::size_t>(num_ranks)),
      expert_entries_(static_cast<std::size_t>(num_experts)),
      entries_(static_cast<std::size_t>(num_ranks) * static_cast<std::size_t>(num_ranks)),
      rows_(entries_.size()) {}

void Tally::add(int source, std::span<const std::int32_t> ids, int top_k) {
  const auto tokens = static_cast<std::int64_t>(ids.size()) / top_k;
  const ConstTensorView view(ids.data(), DType::int32, {tokens, top_k});
  routing::scan_ids(view, tokens, by_rank_, scan_);
  const std::size_t num_experts = expert_entries_.size();
  std::int64_t kept = 0;
  for (std::size_t expert = 0; expert < num_experts; ++expert) {
    const std::int32_t count = scan_.counts[expert];
    expert_entries_[expert] += count;
    entries_[place(source, by_rank_.rank_of(static_cast<int>(expert)))] += count;
    kept += count;
  }
  for (int destination = 0; destination < num_ranks(); ++destination) {
    rows_[place(source, destination)] += scan_.counts[num_experts + static_cast<std::size_t>(destination)];
  }
  tokens_[static_cast<std::size_t>(source)] += tokens;
  none_ids_ += static_cast<std::int64_t>(ids.size()) - kept;
  if (by_domain_.num_ranks() == 1) {
    return;
  }
  routing::scan_ids(view, tokens, by_domain_, scan_);
  for (int domain = 0; domain < by_domain_.num_ranks(); ++domain) {
    if (domain != domain_of(source)) {
      rows_to_other_domains_ += scan_.counts[num_experts + static_cast<std::size_t>(domain)];
    }
  }
}

Findings findings_of(const Tally& tally, std::int64_t row_bytes, int alignment) {
  Findings findings;
  const int num_ranks = tally.num_ranks();
  findings.ranks.resize(static_cast<std::size_t>(num_ranks));
  for (int source = 0; source < num_ranks; ++source) {
    RankLoad& from = findings.ranks[static_cast<std::size_t>(source)];
    from.tokens = tally.tokens(source);
    add_experts(tally, source, alignment, from);
    for (int destination = 0; destination < num_ranks; ++destination) {
      RankLoad& to = findings.ranks[static_cast<std::size_t>(destination)];
      const std::int64_t rows = tally.rows(source, destination);
      to.rows += rows;
      if (source != destination) {
        from.bytes_out += rows * row_bytes;
        to.bytes_in += rows * row_bytes;
        findings.links.entries += tally.entries(source, destination);
        findings.links.rank_rows += rows;
      }
      if (tally.domain_of(source) != tally.domain_of(destination)) {
        findings.domains.entries += tally.entries(source, destination);
        findings.domains.rank_rows += rows;
      }
    }
  }
  findings.domains.domain_rows = tally.rows_to_other_domains();

  std::vector<std::int64_t> entries;
  std::vector<std::int64_t> rows;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const RankLoad& load = findings.ranks[static_cast<std::size_t>(rank)];
    findings.tokens += load.tokens;
    findings.entries += load.entries;
    findings.rows += load.rows;
    entries.push_back(load.entries);
    rows.push_back(load.rows);
    consider(findings.busiest, {rank, "in", load.bytes_in});
    consider(findings.busiest, {rank, "out", load.bytes_out});
  }
  std::vector<std::int64_t> experts;
  for (int expert = 0; expert < tally.placement().num_experts(); ++expert) {
    experts.push_back(tally.expert_entries(expert));
  }
  findings.entries_imbalance = imbalance_of(entries);
  findings.rows_imbalance = imbalance_of(rows);
  findings.expert_imbalance = imbalance_of(experts);
  return findings;
}

double saved_percent(std::int64_t whole, std::int64_t part) noexcept {
  return whole == 0 ? 0.0 : 100.0 * static_cast<double>(whole - part) / static_cast<double>(whole);
}

}  // namespace railyard::cli::inspect
