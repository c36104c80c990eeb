// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_dispatch_plan.hpp"

#include "diagnostics/format.hpp"

#include <algorithm>
#include <bit>
#include <limits>

namespace railyard::throughput {
namespace {

constexpr std::size_t kMaxSegment = 14336;   // bytes of a caller's row in one ring stage
constexpr std::size_t kQuantiseUnit = 1024;  // bytes of BF16 whose scales fill 16 bytes
constexpr int kQuantiseSenders = 10;         // until the link is full
constexpr int kFullLinkSenders = 9;
constexpr int kFullLinkBlocks = 18;
constexpr int kFullLinkCopyBlocks = 16;
constexpr int kManyLinksCopyBlocks = 12;
constexpr std::size_t kManyLinksStage = 7168;  // bytes; with fewer, as few warps were not measured
constexpr std::size_t kBlockBytes = 256;       // BF16 bytes of one scale

bool aligned(const void* pointer, std::size_t pitch, std::size_t bytes) {
  return (reinterpret_cast<std::uintptr_t>(pointer) | pitch | bytes) % 16 == 0;
}

void require(bool condition, ErrorCode code, const std::string& message) {
  if (!condition) throw Error(code, message);
}

// Splits a row into equal segments whose sizes are multiples of `unit`.
void split_row(DispatchPlan& plan, std::size_t row_bytes, std::size_t unit) {
  const std::size_t segments = std::max<std::size_t>(1, (row_bytes + kMaxSegment - 1) / kMaxSegment);
  const std::size_t segment = round_up_bytes((row_bytes + segments - 1) / segments, unit);
  plan.num_segments = static_cast<int>(std::max<std::size_t>(1, (row_bytes + segment - 1) / segment));
  plan.by_segments = Quotient::by(static_cast<std::uint32_t>(plan.num_segments));
  plan.input_segment = static_cast<std::uint32_t>(segment);
}

void plan_copy(DispatchPlan& plan, const CudaRows& rows, int num_blocks, int num_ranks) {
  const std::size_t scale_bytes = rows.scales != nullptr ? rows.num_scales * rows.scale_element : 0;
  plan.shape = CudaRowShape::of(rows.bytes, scale_bytes);
  split_row(plan, plan.shape.row_pitch, 128);
  const auto segments = static_cast<std::size_t>(plan.num_segments);
  plan.wire_segment = plan.input_segment;
  plan.scale_segment =
      static_cast<std::uint32_t>(round_up_bytes((plan.shape.scale_pitch + segments - 1) / segments, 16));
  plan.scale_offset = plan.wire_segment;
  plan.stage_bytes = static_cast<std::uint32_t>(round_up_bytes(plan.wire_segment + plan.scale_segment, 128));
  plan.bulk_rows = aligned(rows.data, rows.pitch, rows.bytes);
  plan.bulk_scales =
      scale_bytes > 0 && rows.scale_step == rows.scale_element && aligned(rows.scales, rows.scale_pitch, scale_bytes);
  // Few bytes in flight are the faster choice once the link is full (docs/measurements).
  const bool large = plan.stage_bytes > 10240;
  const bool is_bulk = plan.bulk_rows && (scale_bytes == 0 || plan.bulk_scales);
  if (num_ranks > 2 && num_blocks >= kManyLinksCopyBlocks && is_bulk && plan.stage_bytes >= kManyLinksStage) {
    plan.num_senders = large ? 1 : 3;
  } else {
    plan.num_senders = large ? 2 : num_blocks < kFullLinkCopyBlocks ? 5 : 4;
  }
  plan.num_stages = kMinStages;
}

void plan_quantise(DispatchPlan& plan, const CudaRows& rows, int num_blocks) {
  require(rows.bytes % 16 == 0, ErrorCode::invalid_argument,
          diagnostics::format("rows to quantise have {} bytes; BF16 rows have a multiple of 16", rows.bytes));
  const std::size_t blocks = (rows.bytes + kBlockBytes - 1) / kBlockBytes;
  plan.shape = CudaRowShape::of(rows.bytes / 2, blocks * sizeof(float));
  split_row(plan, rows.bytes, kQuantiseUnit);
  plan.wire_segment = plan.input_segment / 2;
  plan.scale_segment = plan.input_segment / static_cast<std::uint32_t>(kBlockBytes) * 4;
  plan.output_offset = plan.input_segment;
  plan.scale_offset = plan.output_offset + plan.wire_segment;
  plan.stage_bytes = static_cast<std::uint32_t>(round_up_bytes(plan.scale_offset + plan.scale_segment, 128));
  plan.bulk_rows = aligned(rows.data, rows.pitch, rows.bytes);
  plan.num_senders = num_blocks < kFullLinkBlocks ? kQuantiseSenders : kFullLinkSenders;
  plan.num_stages = 1;
}

DispatchShared share(const DispatchPlan& plan, int num_ranks, int num_experts, int top_k) {
  DispatchShared shared;
  std::size_t end = 0;
  const auto append = [&end](std::size_t count, std::size_t size, std::size_t alignment) {
    end = round_up_bytes(end, alignment);
    const std::size_t offset = end;
    end += count * size;
    return static_cast<std::uint32_t>(offset);
  };
  const auto ranks = static_cast<std::size_t>(num_ranks);
  const auto stages = static_cast<std::size_t>(plan.num_senders) * static_cast<std::size_t>(plan.num_stages);
  shared.stages = append(stages, plan.stage_bytes, 128);
  shared.barriers = append(stages, sizeof(std::uint64_t), 8);
  shared.targets = append(stages * static_cast<std::size_t>(plan.num_lookups), sizeof(CudaTransfer), 8);
  shared.destinations = append(ranks, sizeof(Destination), 8);
  shared.items = append(stages, sizeof(std::int32_t), 4);
  shared.words = append(ranks * static_cast<std::size_t>(plan.num_words), sizeof(std::uint32_t), 4);
  shared.histogram = append(num_experts <= kHistogramLimit ? static_cast<std::size_t>(num_experts) : 0, 4, 4);
  shared.route_masks = append(kRouteBatchWords, 4, 4);
  shared.route_totals = append(ranks, 4, 4);
  const std::size_t groups = plan.routes_alone ? static_cast<std::size_t>(plan.groups) : 0;
  shared.groups = append(groups * ranks, sizeof(RouteGroup), 8);
  shared.experts = append(groups * kTokensPerGroup * static_cast<std::size_t>(top_k), 4, 4);
  shared.slices = append((ranks + kInvalidWords) * static_cast<std::size_t>(plan.num_slices), 4, 4);
  shared.scratch = append(kWarps, 32, 4);
  shared.bytes = static_cast<std::uint32_t>(round_up_bytes(end, 128));
  return shared;
}

void check(const DispatchLaunch& call) {
  const CudaGroup& group = call.group;
  require(group.num_ranks >= 1 && group.num_ranks <= kCudaMaxRanks, ErrorCode::unsupported,
          diagnostics::format("{} ranks; one domain has at most {}", group.num_ranks, kCudaMaxRanks));
  require(call.num_blocks >= 1 && call.num_blocks <= kCudaMaxBlocks, ErrorCode::invalid_argument,
          diagnostics::format("{} blocks; the limits are 1 and {}", call.num_blocks, kCudaMaxBlocks));
  require(call.route.top_k >= 1 && call.route.top_k <= kCudaMaxTopK, ErrorCode::invalid_argument,
          diagnostics::format("top_k is {}; the limits are 1 and {}", call.route.top_k, kCudaMaxTopK));
  require(call.num_tokens >= 0 && call.num_tokens <= call.route.max_tokens, ErrorCode::invalid_argument,
          diagnostics::format("{} tokens; the route holds {}", call.num_tokens, call.route.max_tokens));
  require(call.grant.capacity >= 0 && call.grant.capacity <= std::numeric_limits<std::int32_t>::max(),
          ErrorCode::invalid_argument,
          diagnostics::format("a capacity of {} rows; the limit is 2^31 - 1", call.grant.capacity));
  const bool makes_route = call.operation != CudaOperation::routed_dispatch;
  require(!makes_route || call.num_tokens == 0 || call.ids != nullptr, ErrorCode::invalid_argument, "ids are null");
  require(call.rows.data != nullptr || call.num_tokens == 0 || call.rows.bytes == 0, ErrorCode::invalid_argument,
          "rows are null");
  require(!call.has_weights || call.num_tokens == 0 || call.weights != nullptr, ErrorCode::invalid_argument,
          "weights are null");
}

}  // namespace

DispatchPlan DispatchPlan::of(const DispatchLaunch& launch) {
  check(launch);
  const int num_ranks = launch.group.num_ranks;
  const bool makes_route = launch.operation != CudaOperation::routed_dispatch;
  DispatchPlan plan;
  plan.num_words = makes_route ? static_cast<int>(MailboxWord::counts) + num_ranks : kGrantWords;
  plan.num_lookups = makes_route ? num_ranks : launch.route.slots(num_ranks);
  plan.groups = (launch.num_tokens + kTokensPerGroup - 1) / kTokensPerGroup;
  const auto top_k = static_cast<unsigned>(launch.route.top_k);
  plan.lanes_per_token = static_cast<int>(std::bit_ceil(top_k));
  plan.routes_alone =
      makes_route && plan.groups <= kAloneGroups && plan.groups * kTokensPerGroup * launch.route.top_k <= kAloneIds;
  plan.is_brief = plan.groups <= kAloneGroups && plan.groups * num_ranks <= launch.num_blocks;
  plan.num_slices = plan.routes_alone ? 1 : std::min({launch.num_blocks, kMaxSlices, std::max(1, plan.groups)});
  plan.groups_per_slice = std::max(1, (plan.groups + plan.num_slices - 1) / plan.num_slices);
  plan.by_slice_groups = Quotient::by(static_cast<std::uint32_t>(plan.groups_per_slice));
  plan.workspace = DispatchWorkspace::of(launch.route.max_tokens, num_ranks);
  if (launch.operation != CudaOperation::route && launch.rows.bytes > 0) {
    if (launch.rows.encode == CudaEncode::copy) {
      plan_copy(plan, launch.rows, launch.num_blocks, num_ranks);
    } else {
      plan_quantise(plan, launch.rows, launch.num_blocks);
    }
    require(launch.num_tokens <= (std::numeric_limits<std::int32_t>::max() >> 1) / plan.num_segments,
            ErrorCode::unsupported,
            diagnostics::format("{} tokens of {} segments", launch.num_tokens, plan.num_segments));
  }
  if (plan.num_senders > 0) {
    if (launch.num_senders > 0) plan.num_senders = launch.num_senders;
    const bool copies = launch.rows.encode == CudaEncode::copy;
    if (launch.num_stages > 0 && copies) plan.num_stages = launch.num_stages;
    require(
        plan.num_senders < kClerkWarp && plan.num_stages <= kMaxStages && (!copies || plan.num_stages >= kMinStages),
        ErrorCode::invalid_argument,
        diagnostics::format("{} senders with {} stages; the limits are {}, and {} to {}", plan.num_senders,
                            plan.num_stages, kClerkWarp - 1, kMinStages, kMaxStages));
  }
  plan.shared = share(plan, num_ranks, launch.placement.num_experts, launch.route.top_k);
  while (plan.shared.bytes > kSharedLimit && plan.num_senders > 1) {
    --plan.num_senders;
    plan.shared = share(plan, num_ranks, launch.placement.num_experts, launch.route.top_k);
  }
  require(plan.shared.bytes <= kSharedLimit, ErrorCode::unsupported,
          diagnostics::format("the launch needs {} bytes of shared memory; the limit is {}", plan.shared.bytes,
                              kSharedLimit));
  return plan;
}

std::size_t dispatch_workspace_bytes(int max_tokens, int num_ranks) {
  return DispatchWorkspace::of(max_tokens, num_ranks).bytes;
}

}  // namespace railyard::throughput
