// SPDX-License-Identifier: Apache-2.0
#include "reference/element.hpp"
#include "reference/placement.hpp"
#include "reference/reference.hpp"
#include "reference/row_codec.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace railyard::reference {
namespace {

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

// The bytes of a row as it arrives.
std::size_t wire_row_bytes(const Config& config) {
  return config.codec ? row_bytes(*config.codec, config.hidden) : index(config.hidden) * bytes_of(config.input);
}

std::size_t wire_scale_bytes(const Config& config) {
  if (config.input_scales) {
    return index((config.hidden + kBlock - 1) / kBlock) * bytes_of(*config.input_scales);
  }
  return config.codec ? scale_bytes(*config.codec, config.hidden) : 0;
}

void check_payload(const Config& config, const std::vector<Source>& sources) {
  if (config.codec && config.input_scales) {
    throw std::invalid_argument("reference::dispatch: rows that are quantised already take no codec");
  }
  const std::size_t x_bytes = index(config.hidden) * bytes_of(config.input);
  const std::size_t scale_bytes = config.input_scales ? wire_scale_bytes(config) : 0;
  for (const Source& source : sources) {
    const std::size_t tokens = index(source.tokens);
    if (source.x.size() != tokens * x_bytes || source.scales.size() != tokens * scale_bytes ||
        source.weights.size() != (config.has_weights ? tokens * index(config.top_k) : 0)) {
      throw std::invalid_argument("reference::dispatch: x, scales or weights of the wrong size");
    }
  }
}

EncodedRow wire_row(const Config& config, const Source& source, std::int64_t token) {
  const std::size_t x_bytes = index(config.hidden) * bytes_of(config.input);
  const std::byte* x = source.x.data() + index(token) * x_bytes;
  if (config.codec) {
    return encode_row(*config.codec, config.input, x, config.hidden);
  }
  EncodedRow copy;
  copy.row.assign(x, x + x_bytes);
  if (config.input_scales) {
    const std::size_t bytes = wire_scale_bytes(config);
    const std::byte* scales = source.scales.data() + index(token) * bytes;
    copy.scales.assign(scales, scales + bytes);
  }
  return copy;
}

// A destination before any row has arrived: everything is tail, or padding in expert_major.
Delivered empty_destination(const Config& config, const DestinationPlan& plan, int rank) {
  Delivered out;
  const std::size_t rows = index(plan.flat_rows);
  const std::size_t id_columns = config.layout == Layout::rank_major ? index(config.top_k) : 1;
  const std::byte fill = config.tail == Tail::poison ? std::byte{0xFF} : std::byte{0};
  out.row_bytes = wire_row_bytes(config);
  out.scale_bytes = wire_scale_bytes(config);
  out.rows.assign(rows * out.row_bytes, fill);
  out.scales.assign(rows * out.scale_bytes, fill);
  out.payload_written.assign(rows, config.tail != Tail::untouched);
  out.expert_ids.assign(config.from_mask ? 0 : rows * id_columns, -1);
  out.weights.assign(config.has_weights ? rows * id_columns : 0, 0.0F);
  out.origins.assign(rows, Origin{});
  out.receive_counts.assign(index(config.num_ranks()), 0);
  const std::size_t local_experts = index(config.experts_per_rank[index(rank)]);
  out.expert_counts.assign(local_experts, 0);
  out.expert_offsets.assign(local_experts + 1, 0);
  if (config.layout == Layout::rank_major) {
    return out;
  }
  for (std::size_t group = 0; group <= local_experts; ++group) {
    out.expert_offsets[group] = static_cast<std::int32_t>(std::min(plan.group_start[group], plan.flat_rows));
  }
  if (config.layout == Layout::expert_major) {  // padding; the rows of tokens are written over it
    for (std::size_t row = 0; row < index(out.expert_offsets.back()); ++row) {
      std::fill_n(out.rows.begin() + static_cast<std::ptrdiff_t>(row * out.row_bytes), out.row_bytes, std::byte{0});
      std::fill_n(out.scales.begin() + static_cast<std::ptrdiff_t>(row * out.scale_bytes), out.scale_bytes,
                  std::byte{0});
      out.payload_written[row] = true;
    }
  }
  return out;
}

void deliver_row(const Config& config, const Source& source, const SourceRoute& route, const Row& row, int rank,
                 Delivered& out) {
  const std::size_t flat = index(row.flat);
  const EncodedRow encoded = wire_row(config, source, row.token);
  std::copy(encoded.row.begin(), encoded.row.end(),
            out.rows.begin() + static_cast<std::ptrdiff_t>(flat * out.row_bytes));
  std::copy(encoded.scales.begin(), encoded.scales.end(),
            out.scales.begin() + static_cast<std::ptrdiff_t>(flat * out.scale_bytes));
  out.payload_written[flat] = true;
  out.origins[flat] = {static_cast<std::int32_t>(row.token), static_cast<std::int16_t>(row.source),
                       static_cast<std::int16_t>(row.k)};
  ++out.num_rows;
  ++out.receive_counts[index(row.source)];
  if (config.from_mask) {
    return;
  }
  const bool one_row_per_token = config.layout == Layout::rank_major;
  for (int k = 0; k < config.top_k; ++k) {
    const std::size_t entry = at(config, row.token, k);
    if (route.destination[entry] != rank || (!one_row_per_token && k != row.k)) {
      continue;
    }
    const std::size_t place = one_row_per_token ? flat * index(config.top_k) + index(k) : flat;
    out.expert_ids[place] = route.local_expert[entry];
    if (config.has_weights) {
      out.weights[place] = source.weights[entry];
    }
    ++out.expert_counts[index(route.local_expert[entry])];
  }
}

}  // namespace

Result dispatch(const Config& config, const std::vector<Source>& sources) {
  const Placed placed = place(config, sources);
  check_payload(config, sources);
  Result result;
  result.sources = placed.sources;
  result.status = verdict(config, placed);
  for (int rank = 0; rank < config.num_ranks(); ++rank) {
    const DestinationPlan& plan = placed.destinations[index(rank)];
    Delivered out = empty_destination(config, plan, rank);
    for (const std::vector<Row>& group : plan.groups) {
      for (const Row& row : group) {
        if (row.flat >= 0) {
          deliver_row(config, sources[index(row.source)], placed.sources[index(row.source)], row, rank, out);
        }
      }
    }
    if (config.overflow == OverflowPolicy::drop && !plan.exhausted) {
      result.num_dropped += plan.lost;
    }
    result.received.push_back(std::move(out));
  }
  return result;
}

std::int64_t default_capacity(Layout layout, int num_ranks, std::int64_t max_tokens, int top_k, int local_experts,
                              int alignment) {
  const std::int64_t tokens = num_ranks * max_tokens;
  if (layout != Layout::expert_major) {
    return tokens;
  }
  const std::int64_t rows =
      tokens * std::min(top_k, local_experts) + static_cast<std::int64_t>(alignment - 1) * local_experts;
  return (rows + alignment - 1) / alignment * alignment;
}

}  // namespace railyard::reference
