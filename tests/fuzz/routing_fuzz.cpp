// SPDX-License-Identifier: Apache-2.0
// Any ids: each rank's route, computed by the library from everyone's counts, is the one that the reference finds by
// looking at all ids.
#include "fuzz/fuzz.hpp"
#include "reference/reference.hpp"
#include "routing/block_layout.hpp"
#include "routing/entries.hpp"
#include "routing/resolve.hpp"

#include <numeric>
#include <vector>

namespace railyard::fuzz {
namespace {

struct Case {
  reference::Config config;
  std::vector<reference::Source> sources;
  Placement placement;
};

Case read_case(Input& input) {
  Case made;
  reference::Config& config = made.config;
  const int ranks = input.between(1, 4);
  for (int rank = 0; rank < ranks; ++rank) {
    config.experts_per_rank.push_back(input.between(0, 4));
  }
  if (std::accumulate(config.experts_per_rank.begin(), config.experts_per_rank.end(), 0) == 0) {
    config.experts_per_rank.front() = 1;
  }
  made.placement = Placement::blocks(config.experts_per_rank);
  config.hidden = 8;
  config.layout = static_cast<Layout>(input.between(0, 2));
  config.from_mask = config.layout == Layout::rank_major && input.between(0, 7) == 0;
  config.alignment = config.layout == Layout::expert_major ? input.between(1, 5) : 1;
  config.top_k = input.between(1, 8);
  config.overflow = input.flag() ? OverflowPolicy::drop : OverflowPolicy::error;
  config.levels = input.flag() ? ReductionLevels::rank : ReductionLevels::none;
  config.order = config.levels == ReductionLevels::rank && input.flag() ? ReductionOrder::highest_k
                                                                        : ReductionOrder::rank_ascending;
  const int capacity = input.between(0, 40);
  const int exhausted = input.between(0, 15);
  config.heap_exhausted.assign(static_cast<std::size_t>(ranks), false);
  for (int rank = 0; rank < ranks; ++rank) {
    const bool full = rank == exhausted;
    config.heap_exhausted[static_cast<std::size_t>(rank)] = full;
    config.capacity.push_back(full ? 0 : capacity != 0 ? capacity : 1000);
  }
  for (int rank = 0; rank < ranks; ++rank) {
    reference::Source source;
    source.tokens = input.between(0, 12);
    for (std::int64_t i = 0; i < source.tokens * config.columns(); ++i) {
      const int value = input.between(0, 255);
      if (config.from_mask) {
        source.mask.push_back(static_cast<std::uint8_t>(value % 3));
      } else {
        // Mostly legal; 250 and above are not.
        const std::int64_t id =
            value < 250 ? value % (made.placement.num_experts() + 1) - 1 : input.value<std::int64_t>();
        source.ids.push_back(id);
      }
    }
    source.x.resize(static_cast<std::size_t>(source.tokens) * 16);
    made.sources.push_back(std::move(source));
  }
  return made;
}

void require_equal(const std::vector<std::int32_t>& expected, const std::vector<std::int32_t>& got,
                   const std::string& what) {
  require(expected == got, what + " differ");
}

/// The rows of each token are those of the reference, and follow each other as combine adds them.
void compare_transfers(const Case& given, const reference::SourceRoute& expected, const routing::RouteState& got) {
  const reference::Config& config = given.config;
  const auto columns = static_cast<std::size_t>(config.columns());
  for (std::size_t token = 0; token < static_cast<std::size_t>(got.num_tokens()); ++token) {
    std::size_t rows = 0;
    std::vector<bool> rank_seen(config.capacity.size(), false);
    for (std::size_t k = 0; k < columns; ++k) {
      const std::size_t i = token * columns + k;
      const int rank = expected.destination[i];
      if (expected.row[i] < 0) {
        continue;
      }
      if (config.layout == Layout::rank_major) {
        if (rank_seen[static_cast<std::size_t>(rank)]) {
          continue;
        }
        rank_seen[static_cast<std::size_t>(rank)] = true;
      }
      ++rows;
      bool found = false;
      for (const routing::Transfer& transfer : got.of_token(static_cast<std::int64_t>(token))) {
        found = found || (transfer.rank == rank && transfer.row == expected.row[i] &&
                          transfer.k == static_cast<std::int16_t>(k));
      }
      require(found, "token " + std::to_string(token) + " has no transfer for k " + std::to_string(k));
    }
    std::size_t kept = 0;
    const routing::Transfer* before = nullptr;
    for (const routing::Transfer& transfer : got.of_token(static_cast<std::int64_t>(token))) {
      kept += transfer.row != routing::kLostRow ? 1U : 0U;
      if (before != nullptr && config.levels == ReductionLevels::none && config.layout != Layout::rank_major) {
        require(before->k < transfer.k, "transfers are not in ascending k");
      }
      if (before != nullptr && config.levels == ReductionLevels::rank &&
          config.order == ReductionOrder::rank_ascending) {
        require(before->rank <= transfer.rank, "transfers are not in ascending rank");
      }
      before = &transfer;
    }
    require(kept == rows, "token " + std::to_string(token) + " has " + std::to_string(kept) + " rows");
  }
}

}  // namespace

void fuzz_routing(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const Case given = read_case(input);
  const reference::Config& config = given.config;
  const reference::Result expected = reference::dispatch(config, given.sources);
  const std::size_t ranks = given.sources.size();
  std::vector<routing::Entries> entries(ranks);
  std::vector<routing::SourceCounts> counts(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const reference::Source& source = given.sources[rank];
    if (config.from_mask) {
      routing::scan_mask({source.mask.data(), DType::uint8, {source.tokens, config.num_ranks()}}, source.tokens,
                         given.placement, entries[rank]);
    } else {
      routing::scan_ids({source.ids.data(), DType::int64, {source.tokens, config.top_k}}, source.tokens,
                        given.placement, entries[rank]);
    }
    counts[rank].counts = entries[rank].counts.data();
    counts[rank].capacity = config.capacity[rank];
    counts[rank].heap_exhausted = config.heap_exhausted[rank];
    counts[rank].invalid_ids = entries[rank].invalid_ids;
    counts[rank].first_invalid_id = entries[rank].first_invalid_id;
  }
  routing::Resolver resolver;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    routing::RouteState state;
    state.layout = config.layout;
    state.alignment = config.alignment;
    state.entries = entries[rank];
    resolver.resolve({.placement = &given.placement,
                      .rank = static_cast<int>(rank),
                      .overflow = config.overflow,
                      .levels = config.levels,
                      .order = config.order},
                     counts, state);
    const reference::Delivered& delivered = expected.received[rank];
    require(state.status == expected.status,
            "status: expected " + expected.status.message() + "; got " + state.status.message());
    require(state.num_dropped == expected.num_dropped, "num_dropped is " + std::to_string(state.num_dropped));
    require(state.num_rows == delivered.num_rows, "num_rows is " + std::to_string(state.num_rows));
    require_equal(expected.sources[rank].counts, state.send_counts, "send_counts");
    require_equal(delivered.receive_counts, state.receive_counts, "receive_counts");
    require_equal(delivered.expert_offsets, state.expert_offsets, "expert_offsets");
    if (!resolver.needs_recount()) {
      require_equal(delivered.expert_counts, state.expert_counts, "expert_counts");
    }
    compare_transfers(given, expected.sources[rank], state);
  }
}

}  // namespace railyard::fuzz
