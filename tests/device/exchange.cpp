// SPDX-License-Identifier: Apache-2.0
#include "device/exchange.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

namespace railyard::device_tests {
namespace {

using throughput::CudaDispatchResult;
using throughput::CudaMetadataLayout;
using throughput::CudaPayloadLayout;
using throughput::CudaRoute;
using throughput::CudaTransfer;

constexpr int kPoison = 0xCD;

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

// A copy of packed rows with gaps; returns the address of the first row and the pitch.
struct Spread {
  std::byte* data;
  std::size_t pitch;
};

Spread spread(Arena& arena, const reference::Bytes& packed, std::size_t rows, std::size_t row_bytes, std::size_t gap,
              std::size_t shift, std::size_t spare_rows = 0) {
  const std::size_t pitch = row_bytes + gap;
  reference::Bytes bytes(shift + (rows + spare_rows) * pitch + 16);
  for (std::size_t row = 0; row < rows; ++row) {
    std::memcpy(bytes.data() + shift + row * pitch, packed.data() + row * row_bytes, row_bytes);
  }
  std::byte* const block = arena.take(bytes.size());
  to_device(block, bytes.data(), bytes.size());
  return {block + shift, pitch};
}

template <class T>
T* upload(Arena& arena, const std::vector<T>& values) {
  T* const block = arena.take_array<T>(values.size() + 1);
  to_device(block, values.data(), values.size() * sizeof(T));
  return block;
}

template <class T>
std::vector<T> download(const void* device, std::size_t count) {
  std::vector<T> values(count);
  to_host(values.data(), device, count * sizeof(T));
  return values;
}

std::string differs(const char* what, int rank, std::int64_t at, long long seen, long long expected) {
  return std::string(what) + " at rank " + std::to_string(rank) + ", index " + std::to_string(at) + ": " +
         std::to_string(seen) + ", expected " + std::to_string(expected);
}

}  // namespace

Exchange::Exchange(CudaRanks& ranks, Scenario& scenario)
    : ranks_(ranks), scenario_(scenario), exchange_(static_cast<std::size_t>(ranks.size())) {
  const reference::Config& config = scenario.config;
  const std::size_t hidden = index(config.hidden);
  const std::size_t scales = (hidden + 127) / 128;
  if (config.codec) {
    shape_ = throughput::CudaRowShape::of(hidden, scales * 4);
  } else {
    shape_ = throughput::CudaRowShape::of(hidden * size_of(config.input),
                                          config.input_scales ? scales * size_of(*config.input_scales) : 0);
  }
  for (int r = 0; r < ranks.size(); ++r) {
    ranks_.use(r);
    place_source(r);
    place_rows(r);
    place_grant(r);
    place_combine(r);
  }
}

void Exchange::place_source(int r) {
  const reference::Config& config = scenario_.config;
  const reference::Source& source = scenario_.sources[index(r)];
  const Placing& placing = scenario_.placing;
  CudaRank& rank = ranks_[r];
  throughput::DispatchLaunch& launch = exchange_[index(r)].dispatch;
  launch.group = rank.group;
  launch.group.control_offset = 0;
  launch.stream = rank.stream;
  const int num_experts = std::accumulate(config.experts_per_rank.begin(), config.experts_per_rank.end(), 0);
  std::vector<std::uint8_t> owners;
  std::vector<std::int32_t> first{0};
  for (int owner = 0; owner < config.num_ranks(); ++owner) {
    const int count = config.experts_per_rank[index(owner)];
    owners.insert(owners.end(), index(count), static_cast<std::uint8_t>(owner));
    first.push_back(first.back() + count);
  }
  launch.placement = {
      .num_experts = num_experts,
      .max_local_experts = *std::max_element(config.experts_per_rank.begin(), config.experts_per_rank.end()),
      .rank_of_expert = upload(rank.local, owners),
      .first_expert = upload(rank.local, first)};
  launch.operation = throughput::CudaOperation::dispatch;
  launch.descriptor = 0x1234;
  const int tokens = static_cast<int>(source.tokens);
  launch.num_tokens = tokens + placing.spare_tokens;
  std::vector<std::int64_t> ids = source.ids;
  ids.resize(index(launch.num_tokens) * index(config.top_k), 0);
  launch.ids_are_int64 = placing.ids_are_int64;
  if (placing.ids_are_int64) {
    launch.ids = upload(rank.local, ids);
  } else {
    launch.ids = upload(rank.local, std::vector<std::int32_t>(ids.begin(), ids.end()));
  }
  if (placing.tokens_on_device) launch.device_num_tokens = upload(rank.local, std::vector<std::int32_t>{tokens});
  launch.route.top_k = config.top_k;
  launch.route.max_tokens = launch.num_tokens;
  launch.route.transfers = rank.local.take_array<CudaTransfer>(
      index(launch.num_tokens) * index(CudaRoute::slots(config.top_k, config.num_ranks())) + 1);
  launch.route.experts = rank.local.take_array<std::int32_t>(ids.size() + 1);
  launch.route.sizes = rank.local.take_array<std::int32_t>(2);
  launch.overflow = config.overflow;
  launch.order = config.order;
  launch.has_weights = config.has_weights;
  if (config.has_weights) launch.weights = upload(rank.local, source.weights);
  launch.tail = config.tail;
  launch.num_blocks = placing.blocks[index(r)];
  const std::size_t workspace_bytes = throughput::dispatch_workspace_bytes(launch.num_tokens, config.num_ranks());
  launch.workspace = rank.local.take(workspace_bytes);
  REQUIRE_CUDA(cudaMemset(launch.workspace, 0, workspace_bytes));
  launch.result = rank.local.take_array<CudaDispatchResult>(1);
}

void Exchange::place_rows(int r) {
  const reference::Config& config = scenario_.config;
  const reference::Source& source = scenario_.sources[index(r)];
  const Placing& placing = scenario_.placing;
  CudaRank& rank = ranks_[r];
  throughput::CudaRows& rows = exchange_[index(r)].dispatch.rows;
  rows = {};
  rows.bytes = index(config.hidden) * size_of(config.input);
  const Spread x = spread(rank.local, source.x, index(source.tokens), rows.bytes, placing.row_gap, placing.row_shift,
                          index(placing.spare_tokens));
  rows.data = x.data;
  rows.pitch = x.pitch;
  if (config.codec) rows.encode = throughput::CudaEncode::bf16_to_fp8_e4m3;
  if (!config.input_scales) return;
  const std::size_t element = size_of(*config.input_scales);
  rows.num_scales = index((config.hidden + 127) / 128);
  rows.scale_element = element;
  const std::size_t tokens = index(source.tokens);
  if (!placing.scales_by_column) {
    const Spread scales = spread(rank.local, source.scales, tokens, rows.num_scales * element,
                                 placing.scale_gap * element, 0, index(placing.spare_tokens));
    rows.scales = scales.data;
    rows.scale_pitch = scales.pitch;
    rows.scale_step = element;
    return;
  }
  reference::Bytes columns(tokens * rows.num_scales * element + 16);
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t i = 0; i < rows.num_scales; ++i) {
      std::memcpy(columns.data() + (i * tokens + token) * element,
                  source.scales.data() + (token * rows.num_scales + i) * element, element);
    }
  }
  std::byte* const block = rank.local.take(columns.size());
  to_device(block, columns.data(), columns.size());
  rows.scales = block;
  rows.scale_pitch = element;
  rows.scale_step = tokens * element;
}

void Exchange::place_grant(int r) {
  const reference::Config& config = scenario_.config;
  CudaRank& rank = ranks_[r];
  ExchangeRank& mine = exchange_[index(r)];
  const std::int64_t capacity = config.capacity[index(r)];
  throughput::CudaGrant& grant = mine.dispatch.grant;
  grant.capacity = capacity;
  if (!config.heap_exhausted.empty() && config.heap_exhausted[index(r)]) {
    grant.code = ErrorCode::heap_exhausted;
    grant.wanted_bytes = (std::uint64_t{3} << 32) + 5;
    grant.free_bytes = 77;
  }
  const auto payload = CudaPayloadLayout::of(capacity, shape_, config.has_weights ? config.top_k : 0);
  const auto metadata = CudaMetadataLayout::of(capacity, config.top_k, mine.dispatch.placement.max_local_experts);
  mine.payload = rank.heap.take(payload.bytes);
  mine.metadata = rank.heap.take(metadata.bytes);
  grant.payload_offset = static_cast<std::uint64_t>(mine.payload - rank.heap.base());
  grant.metadata_offset = static_cast<std::uint64_t>(mine.metadata - rank.heap.base());
}

void Exchange::place_combine(int r) {
  const reference::Config& config = scenario_.config;
  const reference::CombineInput& input = scenario_.combine;
  const Placing& placing = scenario_.placing;
  CudaRank& rank = ranks_[r];
  ExchangeRank& mine = exchange_[index(r)];
  throughput::CombineLaunch& launch = mine.combine;
  launch.group = mine.dispatch.group;
  launch.descriptor = 0x77;
  launch.route = mine.dispatch.route;
  launch.hidden = config.hidden;
  launch.y_dtype = input.y_dtype;
  const std::size_t y_bytes = index(config.hidden) * size_of(input.y_dtype);
  const Spread y = spread(rank.heap, input.y[index(r)], index(config.capacity[index(r)]), y_bytes, placing.y_gap, 0);
  mine.y = y.data;
  launch.y_offset = static_cast<std::uint64_t>(y.data - rank.heap.base());
  launch.y_pitch = y.pitch;
  launch.out_dtype = input.out_dtype;
  const std::size_t element = size_of(input.out_dtype);
  launch.out_pitch = (index(config.hidden) + placing.out_gap) * element;
  const std::size_t tokens = index(scenario_.sources[index(r)].tokens);
  mine.out_bytes = placing.out_shift * element + tokens * launch.out_pitch + 16;
  mine.out = rank.local.take(mine.out_bytes);
  launch.out = mine.out + placing.out_shift * element;
  if (!input.biases.empty()) {
    const std::vector<reference::Bias>& biases = input.biases[index(r)];
    for (std::size_t i = 0; i < biases.size(); ++i) {
      const std::size_t bias_element = size_of(biases[i].dtype);
      const Spread bias = spread(rank.local, biases[i].values, tokens, index(config.hidden) * bias_element,
                                 placing.out_gap * bias_element, placing.out_shift * bias_element);
      launch.biases[i] = {bias.data, bias.pitch, biases[i].dtype};
    }
  }
  launch.result = rank.local.take_array<throughput::CudaCombineResult>(1);
  launch.num_blocks = placing.combine_blocks[index(r)];
  launch.num_reducers = placing.combine_reducers;
  launch.num_stages = placing.combine_stages;
  launch.max_chunk = static_cast<std::uint32_t>(placing.combine_chunk);
  launch.stream = rank.stream;
}

void Exchange::launch_dispatch() {
  for (int r = 0; r < ranks_.size(); ++r) {
    ranks_.use(r);
    throughput::launch_dispatch(exchange_[index(r)].dispatch);
  }
}

void Exchange::launch_combine() {
  for (int r = 0; r < ranks_.size(); ++r) {
    ranks_.use(r);
    throughput::launch_combine(exchange_[index(r)].combine);
  }
}

void Exchange::poison() {
  ranks_.synchronize();
  for (int r = 0; r < ranks_.size(); ++r) {
    ranks_.use(r);
    const ExchangeRank& mine = exchange_[index(r)];
    const std::int64_t capacity = mine.dispatch.grant.capacity;
    const auto payload =
        CudaPayloadLayout::of(capacity, shape_, scenario_.config.has_weights ? scenario_.config.top_k : 0);
    REQUIRE_CUDA(cudaMemset(mine.payload, kPoison, payload.bytes));
    const auto metadata =
        CudaMetadataLayout::of(capacity, scenario_.config.top_k, mine.dispatch.placement.max_local_experts);
    if (mine.dispatch.operation == throughput::CudaOperation::dispatch) {
      REQUIRE_CUDA(cudaMemset(mine.metadata, kPoison, metadata.bytes));
    }
    REQUIRE_CUDA(cudaMemset(mine.out, kPoison, mine.out_bytes));
    REQUIRE_CUDA(cudaMemset(mine.dispatch.result, kPoison, sizeof(CudaDispatchResult)));
    REQUIRE_CUDA(cudaDeviceSynchronize());
  }
}

std::string Exchange::run(bool again) {
  poison();
  launch_dispatch();
  ranks_.synchronize();
  const reference::Result expected = reference::dispatch(scenario_.config, scenario_.sources);
  if (const std::string wrong = compare_dispatch(expected, false); !wrong.empty()) return "dispatch: " + wrong;
  reference::Result latest = expected;
  if (again) {
    std::mt19937 random(scenario_.seed + 1);
    for (reference::Source& source : scenario_.sources) {
      const std::size_t elements = source.x.size() / size_of(scenario_.config.input);
      source.x = random_elements(scenario_.config.input, elements, random, true);
    }
    for (int r = 0; r < ranks_.size(); ++r) {
      ranks_.use(r);
      place_rows(r);
      exchange_[index(r)].dispatch.operation = throughput::CudaOperation::routed_dispatch;
      exchange_[index(r)].dispatch.ids = nullptr;
      exchange_[index(r)].dispatch.grant.rows_needed = 5;
    }
    poison();
    launch_dispatch();
    ranks_.synchronize();
    latest = reference::dispatch(scenario_.config, scenario_.sources);
    if (const std::string wrong = compare_dispatch(latest, true); !wrong.empty()) return "routed dispatch: " + wrong;
  }
  launch_combine();
  ranks_.synchronize();
  if (const std::string wrong = compare_combine(latest); !wrong.empty()) return "combine: " + wrong;
  return {};
}

std::string Exchange::compare_dispatch(const reference::Result& expected, bool routed) {
  for (int r = 0; r < ranks_.size(); ++r) {
    ranks_.use(r);
    if (std::string wrong = compare_counts(r, expected, routed); !wrong.empty()) return wrong;
    if (std::string wrong = compare_rank(r, expected, routed); !wrong.empty()) return wrong;
  }
  return {};
}

std::string Exchange::compare_counts(int r, const reference::Result& expected, bool routed) {
  const ExchangeRank& mine = exchange_[index(r)];
  const auto result = download<CudaDispatchResult>(mine.dispatch.result, 1)[0];
  if (result.wait_code != 0) return differs("wait code", r, 0, result.wait_code, 0);
  Status status = expected.status;
  if (routed && status.code != ErrorCode::heap_exhausted) return {};
  if (status.code == ErrorCode::heap_exhausted) {
    status.needed = static_cast<std::int64_t>((std::uint64_t{3} << 32) + 5);
    status.capacity = 77;
    if (routed) {
      status.count =
          5 * std::count(scenario_.config.heap_exhausted.begin(), scenario_.config.heap_exhausted.end(), true);
    }
  }
  if (!(result.status == status)) {
    return "status at rank " + std::to_string(r) + ": " + result.status.message() + " / expected " + status.message();
  }
  if (routed) return {};
  const reference::Delivered& delivered = expected.received[index(r)];
  const reference::SourceRoute& route = expected.sources[index(r)];
  if (result.num_rows != delivered.num_rows) return differs("rows", r, 0, result.num_rows, delivered.num_rows);
  if (result.num_dropped != expected.num_dropped) {
    return differs("dropped rows", r, 0, result.num_dropped, expected.num_dropped);
  }
  if (result.num_tokens != scenario_.sources[index(r)].tokens) {
    return differs("tokens", r, 0, result.num_tokens, scenario_.sources[index(r)].tokens);
  }
  for (int peer = 0; peer < ranks_.size(); ++peer) {
    if (result.receive_counts[peer] != delivered.receive_counts[index(peer)]) {
      return differs("receive count", r, peer, result.receive_counts[peer], delivered.receive_counts[index(peer)]);
    }
    if (result.send_counts[peer] != route.counts[index(peer)]) {
      return differs("send count", r, peer, result.send_counts[peer], route.counts[index(peer)]);
    }
  }
  return {};
}

std::string Exchange::compare_rank(int r, const reference::Result& expected, bool routed) {
  const reference::Config& config = scenario_.config;
  const ExchangeRank& mine = exchange_[index(r)];
  const reference::Delivered& delivered = expected.received[index(r)];
  const std::int64_t capacity = mine.dispatch.grant.capacity;
  const auto payload_layout = CudaPayloadLayout::of(capacity, shape_, config.has_weights ? config.top_k : 0);
  const auto metadata_layout =
      CudaMetadataLayout::of(capacity, config.top_k, mine.dispatch.placement.max_local_experts);
  const auto payload = download<std::byte>(mine.payload, payload_layout.bytes);
  const auto metadata = download<std::byte>(mine.metadata, metadata_layout.bytes);
  const auto* ids = reinterpret_cast<const std::int32_t*>(metadata.data() + metadata_layout.ids);
  const auto* origins = reinterpret_cast<const reference::Origin*>(metadata.data() + metadata_layout.origins);
  const auto* counts = reinterpret_cast<const std::int32_t*>(metadata.data() + metadata_layout.expert_counts);
  const auto* weights = reinterpret_cast<const float*>(payload.data() + payload_layout.weights);
  if (delivered.row_bytes != shape_.row_bytes || delivered.scale_bytes != shape_.scale_bytes) return "row shape";
  for (std::int64_t row = 0; row < capacity; ++row) {
    for (int k = 0; k < config.top_k; ++k) {
      const std::size_t entry = index(row) * index(config.top_k) + index(k);
      if (ids[entry] != delivered.expert_ids[entry]) {
        return differs("id", r, static_cast<std::int64_t>(entry), ids[entry], delivered.expert_ids[entry]);
      }
      if (config.has_weights && std::memcmp(&weights[entry], &delivered.weights[entry], 4) != 0) {
        return differs("weight (x1000)", r, static_cast<std::int64_t>(entry), std::lround(weights[entry] * 1000),
                       std::lround(delivered.weights[entry] * 1000));
      }
    }
    if (!(origins[row] == delivered.origins[index(row)])) {
      return differs("origin's token", r, row, origins[row].token, delivered.origins[index(row)].token) + ", k " +
             std::to_string(origins[row].k) + ", expected " + std::to_string(delivered.origins[index(row)].k);
    }
    const std::byte* const bytes = payload.data() + payload_layout.rows + index(row) * shape_.row_pitch;
    const std::byte* const scales = payload.data() + payload_layout.scales + index(row) * shape_.scale_pitch;
    if (!delivered.payload_written[index(row)]) {
      if (bytes[0] != std::byte{kPoison}) return differs("untouched tail", r, row, static_cast<int>(bytes[0]), kPoison);
      continue;
    }
    for (std::size_t i = 0; i < shape_.row_bytes; ++i) {
      const std::byte want = delivered.rows[index(row) * shape_.row_bytes + i];
      if (bytes[i] != want) {
        return differs("row byte", r, static_cast<std::int64_t>(index(row) * shape_.row_bytes + i),
                       static_cast<int>(bytes[i]), static_cast<int>(want));
      }
    }
    for (std::size_t i = 0; i < shape_.scale_bytes; ++i) {
      const std::byte want = delivered.scales[index(row) * shape_.scale_bytes + i];
      if (scales[i] != want) {
        return differs("scale byte", r, static_cast<std::int64_t>(index(row) * shape_.scale_bytes + i),
                       static_cast<int>(scales[i]), static_cast<int>(want));
      }
    }
  }
  if (capacity == 0 || routed) return {};
  for (std::size_t local = 0; local < delivered.expert_counts.size(); ++local) {
    if (counts[local] != delivered.expert_counts[local]) {
      return differs("expert count", r, static_cast<std::int64_t>(local), counts[local],
                     delivered.expert_counts[local]);
    }
  }
  return {};
}

std::string Exchange::compare_combine(const reference::Result& routed) {
  const std::vector<reference::Bytes> expected = reference::combine(scenario_.config, routed, scenario_.combine);
  const std::size_t element = size_of(scenario_.combine.out_dtype);
  const std::size_t row_bytes = index(scenario_.config.hidden) * element;
  for (int r = 0; r < ranks_.size(); ++r) {
    ranks_.use(r);
    const ExchangeRank& mine = exchange_[index(r)];
    const auto result = download<throughput::CudaCombineResult>(mine.combine.result, 1)[0];
    if (result.wait_code != 0) return differs("wait code", r, 0, result.wait_code, 0);
    const auto out = download<std::byte>(mine.out, mine.out_bytes);
    const std::size_t shift = scenario_.placing.out_shift * element;
    for (std::int64_t token = 0; token < scenario_.sources[index(r)].tokens; ++token) {
      const std::byte* const row = out.data() + shift + index(token) * mine.combine.out_pitch;
      const std::byte* const want = expected[index(r)].data() + index(token) * row_bytes;
      for (std::size_t i = 0; i < row_bytes; ++i) {
        if (row[i] != want[i]) {
          return differs("out byte", r, token * static_cast<std::int64_t>(row_bytes) + static_cast<std::int64_t>(i),
                         static_cast<int>(row[i]), static_cast<int>(want[i]));
        }
      }
      for (std::size_t i = row_bytes; i < mine.combine.out_pitch; ++i) {
        if (row[i] != std::byte{kPoison}) return differs("gap of out", r, token, static_cast<int>(row[i]), kPoison);
      }
    }
  }
  return {};
}

}  // namespace railyard::device_tests
