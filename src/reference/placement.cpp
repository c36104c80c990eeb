// SPDX-License-Identifier: Apache-2.0
#include "reference/placement.hpp"

#include <stdexcept>
#include <string>

namespace railyard::reference {
namespace {

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

void require(bool condition, const char* what) {
  if (!condition) {
    throw std::invalid_argument(std::string("reference::dispatch: ") + what);
  }
}

void check_config(const Config& config, const std::vector<Source>& sources) {
  const auto ranks = index(config.num_ranks());
  require(ranks >= 1, "no ranks");
  require(sources.size() == ranks, "sources and experts_per_rank differ in size");
  require(config.capacity.size() == ranks, "capacity and experts_per_rank differ in size");
  require(config.heap_exhausted.empty() || config.heap_exhausted.size() == ranks,
          "heap_exhausted and experts_per_rank differ in size");
  require(config.alignment >= 1, "alignment below 1");
  require(!config.from_mask || (config.layout == Layout::rank_major && !config.has_weights),
          "a mask goes with rank_major and without weights only");
}

// Which rank and local expert each column of each token goes to.
SourceRoute resolve(const Config& config, const Source& source, int rank, RejectedIds& rejected) {
  const std::size_t entries = index(source.tokens * config.columns());
  require((config.from_mask ? source.mask.size() : source.ids.size()) == entries, "ids or mask of the wrong size");
  std::int64_t num_experts = 0;
  for (const int local : config.experts_per_rank) {
    num_experts += local;
  }
  SourceRoute route;
  route.destination.assign(entries, -1);
  route.local_expert.assign(entries, -1);
  route.row.assign(entries, kNoRow);
  route.counts.assign(index(config.num_ranks()), 0);
  for (std::size_t i = 0; i < entries; ++i) {
    if (config.from_mask) {
      if (source.mask[i] != 0) {
        route.destination[i] = static_cast<int>(i % index(config.num_ranks()));
      }
      continue;
    }
    const std::int64_t id = source.ids[i];
    if (id < -1 || id >= num_experts) {
      if (rejected.count == 0) {
        rejected.first_source = rank;
        rejected.first_id = id;
      }
      ++rejected.count;
      continue;
    }
    if (id == -1) {
      continue;
    }
    std::int64_t first_expert = 0;
    for (int owner = 0; owner < config.num_ranks(); ++owner) {
      const std::int64_t local = config.experts_per_rank[index(owner)];
      if (id >= first_expert && id < first_expert + local) {
        route.destination[i] = owner;
        route.local_expert[i] = static_cast<int>(id - first_expert);
      }
      first_expert += local;
    }
  }
  return route;
}

// The rows of one destination in the order of the contract, without places yet.
std::vector<std::vector<Row>> ordered_rows(const Config& config, const std::vector<Source>& sources,
                                           const std::vector<SourceRoute>& routes, int destination) {
  const bool one_row_per_token = config.layout == Layout::rank_major;
  std::vector<std::vector<Row>> groups(one_row_per_token ? 1 : index(config.experts_per_rank[index(destination)]));
  for (int source = 0; source < config.num_ranks(); ++source) {
    for (std::int64_t token = 0; token < sources[index(source)].tokens; ++token) {
      for (int k = 0; k < config.columns(); ++k) {
        const std::size_t entry = at(config, token, k);
        if (routes[index(source)].destination[entry] != destination) {
          continue;
        }
        if (one_row_per_token) {
          groups[0].push_back({source, token, k, 0, kLostRow});
          break;
        }
        const int expert = routes[index(source)].local_expert[entry];
        groups[index(expert)].push_back({source, token, k, expert, kLostRow});
      }
    }
  }
  return groups;
}

DestinationPlan plan(const Config& config, int rank, std::vector<std::vector<Row>> groups) {
  DestinationPlan plan;
  plan.exhausted = !config.heap_exhausted.empty() && config.heap_exhausted[index(rank)];
  plan.capacity = plan.exhausted ? 0 : config.capacity[index(rank)];
  plan.groups = std::move(groups);
  const bool slots = config.layout == Layout::expert_slots;
  plan.flat_rows = slots ? plan.capacity * static_cast<std::int64_t>(plan.groups.size()) : plan.capacity;
  std::int64_t start = 0;
  for (std::vector<Row>& group : plan.groups) {
    plan.group_start.push_back(start);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const auto ordinal = static_cast<std::int64_t>(i);
      // In expert_slots each expert has the whole capacity, elsewhere the rank has.
      const bool fits = slots ? ordinal < plan.capacity : start + ordinal < plan.capacity;
      group[i].flat = fits ? start + ordinal : kLostRow;
      plan.lost += fits ? 0 : 1;
    }
    if (slots) {
      start += plan.capacity;
    } else {
      start += static_cast<std::int64_t>(group.size());
      while (config.layout == Layout::expert_major && start % config.alignment != 0) {
        ++start;
      }
    }
  }
  plan.group_start.push_back(start);
  return plan;
}

// The overflow of one rank, as a status; ok if there is none.
Status overflow(const Config& config, const DestinationPlan& plan) {
  if (config.layout != Layout::expert_slots) {
    const std::int64_t needed = plan.group_start.back();
    return {needed > plan.capacity ? ErrorCode::capacity : ErrorCode::ok, -1, -1, needed, plan.capacity, 0};
  }
  for (std::size_t expert = 0; expert < plan.groups.size(); ++expert) {
    const auto needed = static_cast<std::int64_t>(plan.groups[expert].size());
    if (needed > plan.capacity) {
      return {ErrorCode::capacity, -1, static_cast<std::int32_t>(expert), needed, plan.capacity, 0};
    }
  }
  return {};
}

}  // namespace

std::size_t at(const Config& config, std::int64_t token, int column) {
  return index(token * config.columns() + column);
}

Placed place(const Config& config, const std::vector<Source>& sources) {
  check_config(config, sources);
  Placed placed;
  for (int rank = 0; rank < config.num_ranks(); ++rank) {
    placed.sources.push_back(resolve(config, sources[index(rank)], rank, placed.rejected));
  }
  for (int rank = 0; rank < config.num_ranks(); ++rank) {
    placed.destinations.push_back(plan(config, rank, ordered_rows(config, sources, placed.sources, rank)));
    for (const std::vector<Row>& group : placed.destinations.back().groups) {
      for (const Row& row : group) {
        SourceRoute& route = placed.sources[index(row.source)];
        route.counts[index(rank)] += row.flat >= 0 ? 1 : 0;
        // In rank_major one row stands for all of the token's entries on this rank.
        const bool shared = config.layout == Layout::rank_major;
        for (int k = row.k; k < (shared ? config.columns() : row.k + 1); ++k) {
          const std::size_t entry = at(config, row.token, k);
          if (route.destination[entry] == rank) {
            route.row[entry] = row.flat;
          }
        }
      }
    }
  }
  return placed;
}

Status verdict(const Config& config, const Placed& placed) {
  Status status;
  std::int64_t lost_to_exhausted = 0;
  std::int64_t lost_in_all = 0;
  for (const DestinationPlan& destination : placed.destinations) {
    lost_in_all += destination.lost;
    lost_to_exhausted += destination.exhausted ? destination.lost : 0;
  }
  for (int rank = 0; rank < config.num_ranks(); ++rank) {
    if (placed.destinations[index(rank)].exhausted) {
      return {ErrorCode::heap_exhausted, rank, -1, 0, 0, lost_to_exhausted};
    }
  }
  for (int rank = 0; rank < config.num_ranks() && config.overflow == OverflowPolicy::error; ++rank) {
    status = overflow(config, placed.destinations[index(rank)]);
    if (!status.ok()) {
      status.rank = rank;
      status.count = lost_in_all;
      return status;
    }
  }
  if (placed.rejected.count > 0) {
    std::int64_t num_experts = 0;
    for (const int local : config.experts_per_rank) {
      num_experts += local;
    }
    return {ErrorCode::invalid_id, placed.rejected.first_source, -1, placed.rejected.first_id,
            num_experts,           placed.rejected.count};
  }
  return {};
}

}  // namespace railyard::reference
