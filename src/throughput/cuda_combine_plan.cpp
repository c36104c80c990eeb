// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_combine_plan.hpp"

#include "diagnostics/format.hpp"

#include <algorithm>

namespace railyard::throughput {
namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw Error(ErrorCode::invalid_argument, message);
}

bool is_float(DType dtype) { return dtype == DType::bf16 || dtype == DType::fp16 || dtype == DType::fp32; }

bool aligned(const void* pointer, std::size_t pitch) {
  return (reinterpret_cast<std::uintptr_t>(pointer) | pitch) % 16 == 0;
}

void check(const CombineLaunch& call) {
  const CudaGroup& group = call.group;
  require(group.num_ranks >= 1 && group.num_ranks <= kCudaMaxRanks,
          diagnostics::format("{} ranks; one domain has at most {}", group.num_ranks, kCudaMaxRanks));
  require(call.num_blocks >= 1 && call.num_blocks <= kCudaMaxBlocks,
          diagnostics::format("{} blocks; the limits are 1 and {}", call.num_blocks, kCudaMaxBlocks));
  require(call.hidden >= 8 && call.hidden % 8 == 0,
          diagnostics::format("hidden is {}; it must be a positive multiple of 8", call.hidden));
  require(is_float(call.y_dtype) && is_float(call.out_dtype), "y and out must be bf16, fp16 or fp32");
  require(
      call.y_offset % 16 == 0 && call.y_pitch % 16 == 0,
      diagnostics::format("y at offset {} with pitch {}; both must be multiples of 16", call.y_offset, call.y_pitch));
  require(call.y_pitch / 16 <= 0xFFFFFFFFU,
          diagnostics::format("a pitch of {} bytes; the limit is 2^36 - 16", call.y_pitch));
  require(call.biases[0].data != nullptr || call.biases[1].data == nullptr, "a second bias without the first");
}

// Loads under way that the links do not take queue up at their owners: more blocks have no more of them together, and
// from three ranks on, where most rows come over the links, half as many are enough (docs/measurements).
int default_reducers(int num_blocks, int num_ranks) {
  const int full_blocks = num_ranks <= 2 ? 16 : 8;
  return std::clamp(kWarps * full_blocks / num_blocks, kWarps / 4, kWarps);
}

/// CombinePlan::plain_vectors: the longest chunks that divide a row.
int plain_vectors_of(const CombineLaunch& launch, const CombinePlan& plan, std::uint32_t max_chunk) {
  if (!plan.packed_out || size_of(launch.y_dtype) != 2 || launch.biases[0].data != nullptr) return 0;
  for (int vectors = static_cast<int>(max_chunk / kChunkStep); vectors >= kMinPlainVectors; --vectors) {
    if (plan.row_bytes % (static_cast<std::uint32_t>(vectors) * kChunkStep) == 0) return vectors;
  }
  return 0;
}

}  // namespace

CombinePlan CombinePlan::of(const CombineLaunch& launch) {
  check(launch);
  CombinePlan plan;
  plan.row_bytes = static_cast<std::uint32_t>(launch.hidden) * static_cast<std::uint32_t>(size_of(launch.y_dtype));
  require(launch.num_reducers <= kWarps && launch.num_stages != 1 && launch.num_stages <= kMaxCombineStages &&
              launch.max_chunk <= kMaxChunk && launch.max_chunk % kChunkStep == 0,
          diagnostics::format("{} reducers, {} stages, chunks of {} bytes; the limits are {}, 2 to {}, and {} in steps "
                              "of {}",
                              launch.num_reducers, launch.num_stages, launch.max_chunk, kWarps, kMaxCombineStages,
                              kMaxChunk, kChunkStep));
  plan.num_reducers =
      launch.num_reducers > 0 ? launch.num_reducers : default_reducers(launch.num_blocks, launch.group.num_ranks);
  plan.vector_out = aligned(launch.out, launch.out_pitch);
  plan.packed_out = plan.vector_out && launch.out_dtype == launch.y_dtype;
  const std::uint32_t max_chunk = launch.max_chunk > 0 ? launch.max_chunk : kMaxChunk;
  plan.plain_vectors = plain_vectors_of(launch, plan, max_chunk);
  if (plan.plain_vectors > 0) {
    plan.chunk = static_cast<std::uint32_t>(plan.plain_vectors) * kChunkStep;
  } else {
    const std::uint32_t chunks = (plan.row_bytes + max_chunk - 1) / max_chunk;
    plan.chunk = static_cast<std::uint32_t>(round_up_bytes((plan.row_bytes + chunks - 1) / chunks, kChunkStep));
  }
  // As many bytes under way as with full chunks.
  plan.num_stages = launch.num_stages > 0
                        ? launch.num_stages
                        : std::min(static_cast<int>(kCombineStages * kMaxChunk / plan.chunk), kMaxCombineStages);
  plan.num_chunks = static_cast<int>((plan.row_bytes + plan.chunk - 1) / plan.chunk);
  require(launch.route.max_tokens <= 0x3FFFFFFF / plan.num_chunks,
          diagnostics::format("{} tokens of {} chunks", launch.route.max_tokens, plan.num_chunks));
  plan.by_chunks = Quotient::by(static_cast<std::uint32_t>(plan.num_chunks));
  for (int i = 0; i < 2; ++i) plan.vector_bias[i] = aligned(launch.biases[i].data, launch.biases[i].pitch);
  const auto stages = static_cast<std::size_t>(plan.num_reducers) * static_cast<std::size_t>(plan.num_stages);
  const auto ranks = static_cast<std::size_t>(launch.group.num_ranks);
  std::size_t end = stages * plan.chunk;
  const auto append = [&end](std::size_t bytes) {
    const std::size_t offset = end;
    end = round_up_bytes(end + bytes, 16);
    return static_cast<std::uint32_t>(offset);
  };
  plan.shared.stages = append(stages * kRingStageBytes);
  plan.shared.sources = append(ranks * sizeof(PulledRows));
  plan.shared.words = append(ranks * static_cast<std::size_t>(kGrantWords) * sizeof(std::uint32_t));
  plan.shared.bytes = static_cast<std::uint32_t>(round_up_bytes(end, 128));
  require(plan.shared.bytes <= kSharedLimit,
          diagnostics::format("the launch needs {} bytes of shared memory; the limit is {}", plan.shared.bytes,
                              kSharedLimit));
  return plan;
}

}  // namespace railyard::throughput
