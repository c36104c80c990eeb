// SPDX-License-Identifier: Apache-2.0
// Who sends how much to whom: counted by the library's own scan of ids, whatever the number of tokens.
#pragma once

#include "routing/entries.hpp"

#include <railyard/placement.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace railyard::cli::inspect {

/// Entries and rows by where they come from and go to. Memory: ranks^2 and experts, never tokens.
class Tally {
 public:
  /// Experts lie on ranks as Placement::contiguous has it; consecutive `domain_size` ranks, a divisor of `num_ranks`,
  /// are a scale-up domain.
  Tally(int num_experts, int num_ranks, int domain_size);

  /// The next tokens of rank `source`: ids [tokens, top_k], each -1 or an expert; at most 2^24 of them in a call.
  void add(int source, std::span<const std::int32_t> ids, int top_k);

  [[nodiscard]] const Placement& placement() const noexcept { return by_rank_; }
  [[nodiscard]] int num_ranks() const noexcept { return by_rank_.num_ranks(); }
  [[nodiscard]] int domain_size() const noexcept { return domain_size_; }
  [[nodiscard]] int domain_of(int rank) const noexcept { return rank / domain_size_; }
  [[nodiscard]] std::int64_t tokens(int source) const { return tokens_[static_cast<std::size_t>(source)]; }
  /// (token, k) without an expert, over all ranks.
  [[nodiscard]] std::int64_t none_ids() const noexcept { return none_ids_; }
  [[nodiscard]] std::int64_t expert_entries(int expert) const {
    return expert_entries_[static_cast<std::size_t>(expert)];
  }
  [[nodiscard]] std::int64_t entries(int source, int destination) const { return entries_[place(source, destination)]; }
  /// A row per token and destination rank.
  [[nodiscard]] std::int64_t rows(int source, int destination) const { return rows_[place(source, destination)]; }
  /// A row per token and destination domain other than the token's, over all ranks.
  [[nodiscard]] std::int64_t rows_to_other_domains() const noexcept { return rows_to_other_domains_; }

 private:
  [[nodiscard]] std::size_t place(int source, int destination) const {
    return static_cast<std::size_t>(source) * static_cast<std::size_t>(num_ranks()) +
           static_cast<std::size_t>(destination);
  }

  Placement by_rank_;
  Placement by_domain_;  // domains in the place of ranks
  int domain_size_;
  routing::Entries scan_;
  std::vector<std::int64_t> tokens_;          // [ranks]
  std::vector<std::int64_t> expert_entries_;  // [experts]
  std::vector<std::int64_t> entries_;         // [ranks, ranks]
  std::vector<std::int64_t> rows_;            // [ranks, ranks]
  std::int64_t none_ids_ = 0;
  std::int64_t rows_to_other_domains_ = 0;
};

struct ExpertLoad {
  int expert = -1;  // -1: the rank holds none
  std::int64_t entries = 0;
};

/// Links are those between different ranks; bytes are payload and scales.
struct RankLoad {
  std::int64_t tokens = 0;
  std::int64_t rows = 0;               // received in rank_major, its own tokens' included
  std::int64_t entries = 0;            // received in expert_major
  std::int64_t rows_with_padding = 0;  // needed in expert_major
  std::int64_t slots = 0;              // needed per expert in expert_slots
  std::int64_t bytes_in = 0;
  std::int64_t bytes_out = 0;
  ExpertLoad most;  // the lowest of equals
  ExpertLoad least;
};

/// What crosses some boundary if a row is sent per entry, per token and rank, per token and domain.
struct Crossing {
  std::int64_t entries = 0;
  std::int64_t rank_rows = 0;
  std::int64_t domain_rows = 0;
};

struct BusiestLink {
  int rank = 0;
  std::string_view direction;  // "in" or "out"
  std::int64_t bytes = 0;
};

struct Findings {
  std::vector<RankLoad> ranks;
  std::int64_t tokens = 0;
  std::int64_t entries = 0;
  std::int64_t rows = 0;                    // of rank_major
  Crossing links;                           // between ranks; domain_rows is meaningless there and 0
  Crossing domains;                         // between domains
  std::optional<BusiestLink> busiest;       // none: nothing crosses a link
  std::optional<double> entries_imbalance;  // max over mean of the ranks' entries; none: there is nothing
  std::optional<double> rows_imbalance;     // of the ranks' rows
  std::optional<double> expert_imbalance;   // of the experts' entries
};

/// `row_bytes`: payload and scales of a row; `alignment`: of groups in expert_major.
[[nodiscard]] Findings findings_of(const Tally& tally, std::int64_t row_bytes, int alignment);

/// How much smaller `part` is than `whole`, in percent; 0 of nothing.
[[nodiscard]] double saved_percent(std::int64_t whole, std::int64_t part) noexcept;

}  // namespace railyard::cli::inspect
