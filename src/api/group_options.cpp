// SPDX-License-Identifier: Apache-2.0
#include "api/group_options.hpp"

#include "api/require.hpp"
#include "api/test_hooks.hpp"
#include "bootstrap/bootstrap.hpp"
#include "low_latency/wire_layout.hpp"
#include "routing/block_layout.hpp"
#include "symmetric_memory/block_allocator.hpp"
#include "throughput/cuda_group_memory.hpp"
#include "transports/peer_exchange.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace railyard::api {
namespace {

constexpr int kMaxExperts = 1 << 20;
constexpr int kMaxTopK = 32;
constexpr int kMaxTokens = 1 << 24;
constexpr int kMaxHidden = 1 << 20;
constexpr int kMaxInFlight = 16;
constexpr int kMaxSms = 64;  // more are slower

std::size_t block(std::size_t bytes) { return symmetric_memory::BlockAllocator::round_up(bytes); }

void check_limits(const GroupOptions& options, int world_size) {
  require(options.num_experts >= 1 && options.num_experts <= kMaxExperts, "num_experts is {}; 1 to {} are supported",
          options.num_experts, kMaxExperts);
  require(options.max_top_k >= 1 && options.max_top_k <= kMaxTopK, "max_top_k is {}; 1 to {} are supported",
          options.max_top_k, kMaxTopK);
  require(options.max_tokens >= 0 && options.max_tokens <= kMaxTokens, "max_tokens is {}; 0 to {} are supported",
          options.max_tokens, kMaxTokens);
  require(options.hidden >= 8 && options.hidden <= kMaxHidden && options.hidden % 8 == 0,
          "hidden is {}; multiples of 8 from 8 to {} are supported", options.hidden, kMaxHidden);
  require(options.max_in_flight >= 1 && options.max_in_flight <= kMaxInFlight,
          "max_in_flight is {}; 1 to {} are supported", options.max_in_flight, kMaxInFlight);
  require(options.timeout.count() >= 0, "timeout is {} ns; at least 0", options.timeout.count());
  require(options.num_sms >= 0 && options.num_sms <= kMaxSms, "num_sms is {}; 1 to {}, or 0 for the default",
          options.num_sms, kMaxSms);
  require_enumerator("mode", options.mode, Mode::low_latency);
  require_enumerator("row_dtype", options.row_dtype, DType::int64);
  require_enumerator("levels", options.levels, ReductionLevels::rank);
  require_enumerator("order", options.order, ReductionOrder::highest_k);
  require_enumerator("overflow", options.overflow, OverflowPolicy::drop);
  require_enumerator("on_timeout", options.on_timeout, TimeoutPolicy::wait);
  require_enumerator("gpu_handles", options.gpu_handles.value_or(GpuHandles::fd), GpuHandles::fabric);
  require(options.levels == ReductionLevels::rank || options.order == ReductionOrder::rank_ascending,
          "order is {} with levels none, which adds entries in ascending k; leave it rank_ascending",
          name(options.order));
  if (options.placement.empty()) return;
  require(options.placement.num_ranks() == world_size, "placement is for {} ranks, the world has {}",
          options.placement.num_ranks(), world_size);
  require(options.placement.num_experts() == options.num_experts, "placement has {} experts, num_experts is {}",
          options.placement.num_experts(), options.num_experts);
}

void check_cuda(const GroupOptions& options, int world_size) {
  if (world_size > throughput::kCudaMaxRanks) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("a CUDA group of {} ranks; up to {}", world_size, throughput::kCudaMaxRanks));
  }
  if (options.mode == Mode::low_latency) {
    throw Error(ErrorCode::unsupported, "mode low_latency on CUDA; groups on GPUs have mode throughput so far");
  }
}

// A field that must agree, as a number, and how its values read.
struct Field {
  std::string_view name;
  std::int64_t value;
  std::string (*describe)(std::int64_t) = [](std::int64_t number) { return diagnostics::format("{}", number); };
};

template <typename Enum>
Field enumeration(std::string_view field_name, Enum value) {
  return {field_name, static_cast<std::int64_t>(value),
          [](std::int64_t number) { return std::string(railyard::name(static_cast<Enum>(number))); }};
}

std::vector<Field> fields_of(const GroupOptions& options, DeviceKind device) {
  return {enumeration("the device's kind", device),
          {"num_experts", options.num_experts},
          {"max_top_k", options.max_top_k},
          {"max_tokens", options.max_tokens},
          {"hidden", options.hidden},
          enumeration("mode", options.mode),
          enumeration("row_dtype", options.row_dtype),
          enumeration("levels", options.levels),
          enumeration("order", options.order),
          enumeration("overflow", options.overflow),
          enumeration("on_timeout", options.on_timeout),
          enumeration("gpu_handles", options.gpu_handles.value_or(GpuHandles::fd)),
          {"max_in_flight", options.max_in_flight},
          {"heap_bytes", static_cast<std::int64_t>(options.heap_bytes)},
          {"heap_limit_bytes", static_cast<std::int64_t>(options.heap_limit_bytes)},
          {"testing.first_epoch", options.testing ? static_cast<std::int64_t>(options.testing->first_epoch) : 0}};
}

// Rank-major dispatches of `rows` rows each, as many combine inputs, and the group's own memory.
std::size_t cuda_bytes_needed(const GroupOptions& options, int world_size, std::int64_t rows) {
  using throughput::CudaRowShape;
  const std::size_t row_bytes = static_cast<std::size_t>(options.hidden) * size_of(options.row_dtype);
  const std::size_t scale_bytes = static_cast<std::size_t>((options.hidden + 127) / 128) * sizeof(float);
  const auto shape = CudaRowShape::of(row_bytes, scale_bytes);
  const std::size_t dispatched =
      block(throughput::CudaPayloadLayout::of(rows, shape, options.max_top_k).bytes) +
      block(throughput::CudaMetadataLayout::of(rows, options.max_top_k, options.placement.max_local_experts()).bytes);
  const std::size_t outputs = block(static_cast<std::size_t>(rows) * shape.row_pitch);
  const auto own = throughput::CudaGroupMemory::of({.num_ranks = world_size,
                                                    .num_experts = options.num_experts,
                                                    .max_tokens = options.max_tokens,
                                                    .max_top_k = options.max_top_k,
                                                    .num_slots = options.max_in_flight});
  return block(own.bytes) + static_cast<std::size_t>(options.max_in_flight) * (dispatched + outputs);
}

}  // namespace

GroupOptions complete_options(const GroupOptions& options, int world_size, DeviceKind device) {
  require(world_size >= 1 && world_size <= bootstrap::kMaxRanks, "a group of {} ranks; 1 to {} are supported",
          world_size, bootstrap::kMaxRanks);
  check_limits(options, world_size);
  if (device == DeviceKind::cuda) check_cuda(options, world_size);
  GroupOptions complete = options;
  if (complete.placement.empty()) complete.placement = Placement::contiguous(options.num_experts, world_size);
  if (complete.heap_bytes == 0) complete.heap_bytes = bytes_needed(complete, world_size, Layout::rank_major, device);
  if (complete.heap_limit_bytes == 0) complete.heap_limit_bytes = complete.heap_bytes;
  require(complete.heap_limit_bytes >= complete.heap_bytes, "heap_limit_bytes is {}, below heap_bytes, which is {}",
          complete.heap_limit_bytes, complete.heap_bytes);
  return complete;
}

std::size_t bytes_needed(const GroupOptions& options, int world_size, Layout layout, DeviceKind device) {
  const int local_experts = options.placement.max_local_experts();
  const std::int64_t capacity = routing::default_capacity(layout, world_size, options.max_tokens, options.max_top_k,
                                                          local_experts, /*alignment=*/128);
  const std::int64_t rows = layout == Layout::expert_slots ? capacity * local_experts : capacity;
  const int ids_per_row = layout == Layout::rank_major ? options.max_top_k : 1;
  const auto shape = routing::RowShape::exact(options.row_dtype, options.hidden, DType::fp32);
  const double row_bytes = static_cast<double>(shape.row_pitch + shape.scale_pitch) + 8.0 * ids_per_row + 256.0;
  const double total_rows = 2.0 * static_cast<double>(rows) + static_cast<double>(world_size) * options.max_tokens;
  require(options.max_in_flight * total_rows * row_bytes < 0x1p62,
          "a heap for {} dispatches of {} rows of {} bytes; the sum must be below 2^62 bytes", options.max_in_flight,
          rows, shape.row_pitch);
  if (device == DeviceKind::cuda) return cuda_bytes_needed(options, world_size, rows);
  const std::size_t dispatched = block(routing::PayloadLayout::of(rows, shape, ids_per_row).bytes) +
                                 block(routing::MetadataLayout::of(rows, ids_per_row).bytes);
  const std::size_t outputs = block(static_cast<std::size_t>(rows) * shape.row_pitch);
  std::size_t bytes =
      block(transports::PeerExchange::control_bytes(world_size, options.num_experts, options.max_in_flight));
  if (options.mode == Mode::low_latency) {
    bytes += block(low_latency::WireLayout::of(world_size, options.max_in_flight, options.max_tokens, options.max_top_k,
                                               options.hidden, options.row_dtype)
                       .bytes);
  }
  return bytes + static_cast<std::size_t>(options.max_in_flight) * (dispatched + outputs);
}

void compare_options(const GroupOptions& options, DeviceKind device, bootstrap::Bootstrap& bootstrap,
                     std::chrono::nanoseconds timeout) {
  std::vector<Field> fields = fields_of(options, device);
  const std::size_t num_options = fields.size();
  for (int rank = 0; rank < bootstrap.size(); ++rank) {
    fields.push_back({"placement", options.placement.local_experts(rank)});
  }
  std::vector<std::int64_t> mine;
  for (const Field& field : fields) mine.push_back(field.value);
  std::vector<std::int64_t> all(mine.size() * static_cast<std::size_t>(bootstrap.size()));
  bootstrap.all_gather(mine.data(), all.data(), mine.size() * sizeof(std::int64_t), "creating a group", timeout);
  for (std::size_t index = 0; index < fields.size(); ++index) {
    for (std::size_t rank = 1; rank < static_cast<std::size_t>(bootstrap.size()); ++rank) {
      const std::int64_t first = all[index];
      const std::int64_t other = all[rank * fields.size() + index];
      if (first == other) continue;
      const std::string where =
          index < num_options ? std::string() : diagnostics::format(" (experts on rank {})", index - num_options);
      throw Error(ErrorCode::config_mismatch,
                  diagnostics::format("{}{} is {} on rank 0 and {} on rank {}", fields[index].name, where,
                                      fields[index].describe(first), fields[index].describe(other), rank));
    }
  }
}

}  // namespace railyard::api
