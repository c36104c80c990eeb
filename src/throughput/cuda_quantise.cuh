// SPDX-License-Identifier: Apache-2.0
// Warps that quantise rows in flight: BF16 in, E4M3 codes and one fp32 scale per 128 elements out, as
// src/codecs/fp8_e4m3.hpp defines them, bit for bit.
#pragma once

#include "device/convert.cuh"
#include "throughput/cuda_send.cuh"

#include <cstdint>

namespace railyard::throughput {

inline constexpr int kVectorsAtOnce = 7;  // per lane: loads in flight before the first use
inline constexpr float kMinAmax = 1e-4F;
inline constexpr float kE4m3Max = 448.0F;

/// Largest magnitude of a vector's eight elements, as a packed pair of partial maxima.
__device__ __forceinline__ std::uint32_t vector_magnitude(const uint4& vector) {
  using device::bf16_pair_magnitude;
  using device::bf16_pair_max;
  return bf16_pair_max(bf16_pair_max(bf16_pair_magnitude(vector.x), bf16_pair_magnitude(vector.y)),
                       bf16_pair_max(bf16_pair_magnitude(vector.z), bf16_pair_magnitude(vector.w)));
}

/// The warp encodes `num_vectors` vectors of eight BF16 elements; sixteen lanes share a scale. The last block may be
/// short: what lies beyond the row counts as zero.
__device__ inline void encode_segment(const std::byte* input, std::byte* codes, std::byte* scales, int num_vectors) {
  const int rounds = (num_vectors + 31) / 32;
  for (int begin = 0; begin < rounds; begin += kVectorsAtOnce) {
    uint4 vectors[kVectorsAtOnce];
    std::uint32_t maxima[kVectorsAtOnce];
#pragma unroll
    for (int i = 0; i < kVectorsAtOnce; ++i) {
      const int index = (begin + i) * 32 + lane_index();
      vectors[i] = index < num_vectors ? reinterpret_cast<const uint4*>(input)[index] : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int i = 0; i < kVectorsAtOnce; ++i) maxima[i] = vector_magnitude(vectors[i]);
#pragma unroll
    for (int offset = 1; offset < 16; offset *= 2) {
#pragma unroll
      for (int i = 0; i < kVectorsAtOnce; ++i) {
        maxima[i] = device::bf16_pair_max(maxima[i], __shfl_xor_sync(~0U, maxima[i], offset));
      }
    }
#pragma unroll
    for (int i = 0; i < kVectorsAtOnce; ++i) {
      const int index = (begin + i) * 32 + lane_index();
      const float2 halves = device::bf16_pair_to_floats(maxima[i]);
      const float amax = fmaxf(kMinAmax, fmaxf(halves.x, halves.y));
      const float multiplier = __fdiv_rn(kE4m3Max, amax);
      const float2 a = device::bf16_pair_to_floats(vectors[i].x);
      const float2 b = device::bf16_pair_to_floats(vectors[i].y);
      const float2 c = device::bf16_pair_to_floats(vectors[i].z);
      const float2 d = device::bf16_pair_to_floats(vectors[i].w);
      if (index >= num_vectors) continue;
      reinterpret_cast<uint2*>(codes)[index] = {
          device::floats_to_e4m3(__fmul_rn(a.x, multiplier), __fmul_rn(a.y, multiplier), __fmul_rn(b.x, multiplier),
                                 __fmul_rn(b.y, multiplier)),
          device::floats_to_e4m3(__fmul_rn(c.x, multiplier), __fmul_rn(c.y, multiplier), __fmul_rn(d.x, multiplier),
                                 __fmul_rn(d.y, multiplier))};
      if (lane_index() % 16 == 0) {
        reinterpret_cast<float*>(scales)[index / 16] = __fmul_rn(amax, 1.0F / kE4m3Max);
      }
    }
  }
  // Codes and scales are stored in multiples of 16 bytes.
  if (num_vectors % 2 != 0 && lane_index() == 0) reinterpret_cast<uint2*>(codes)[num_vectors] = {0, 0};
  const int num_scales = (num_vectors + 15) / 16;
  if (const int scale = num_scales + lane_index(); scale < (num_scales + 3) / 4 * 4) {
    reinterpret_cast<float*>(scales)[scale] = 0;
  }
}

/// Role: sender, rows quantised. One input and one output buffer: the next load starts as soon as the row is encoded,
/// the next encoding when the stores have read the output.
__device__ inline void send_quantised(Sender& sender) {
  const DispatchPlan& plan = sender.plan();
  std::byte* const buffer = sender.stage(0);
  int item = sender.item(0);
  Lookup lookup;
  fetch(sender, item, 0, lookup);
  for (std::uint32_t parity = 0; item < sender.num_items(); parity ^= 1) {
    const int next = sender.drawn();
    if (next < sender.num_items()) sender.draw();
    settle(sender, lookup);
    fetch(sender, next, 0, lookup);
    device::barrier_wait(sender.barrier(0), parity);
    device::bulk_wait_read<0>();
    __syncwarp();
    const Item piece = sender.split(item);
    const Span row = segment_of(piece.segment, plan.input_segment, sender.block.call().rows.bytes);
    encode_segment(buffer, buffer + plan.output_offset, buffer + plan.scale_offset, static_cast<int>(row.size / 16));
    device::shared_writes_to_bulk_reads();
    if (next < sender.num_items()) load(sender, next, 0);
    store(sender, item, 0);
    item = next;
  }
}

}  // namespace railyard::throughput
