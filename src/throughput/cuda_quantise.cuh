// SPDX-License-Identifier: Apache-2.0
// Warps that quantise rows in flight: BF16 in, E4M3 codes and one fp32 scale per 128 elements out, as
// src/codecs/fp8_e4m3.hpp defines them, bit for bit.
#pragma once

#include "device/convert.cuh"
#include "throughput/cuda_send.cuh"

#include <cstdint>

namespace railyard::throughput {

inline constexpr int kVectorsAtOnce = 4;  // per lane
inline constexpr float kMinAmax = 1e-4F;
inline constexpr float kE4m3Max = 448.0F;

/// fl(448 / amax) for amax >= 1e-4. The quotient by a refined reciprocal with two corrections is the one that nvcc's
/// own division takes in this range; a test goes through every BF16 value. Beyond, as for infinity, the division
/// itself.
__device__ __forceinline__ float multiplier_of(float amax) {
  constexpr float kFastLimit = 1e30F;
  const float rough = device::reciprocal_approximation(amax);
  const float reciprocal = __fmaf_rn(rough, __fmaf_rn(-amax, rough, 1.0F), rough);
  float quotient = __fmul_rn(kE4m3Max, reciprocal);
  quotient = __fmaf_rn(__fmaf_rn(-amax, quotient, kE4m3Max), reciprocal, quotient);
  quotient = __fmaf_rn(__fmaf_rn(-amax, quotient, kE4m3Max), reciprocal, quotient);
  if (amax > kFastLimit) quotient = __fdiv_rn(kE4m3Max, amax);
  return quotient;
}

/// Sixteen lanes hold parts of four blocks each, one vector per block. Afterwards a lane has the largest magnitude of
/// one block, the (lane / 4 % 4)th: each step halves what a lane is responsible for.
__device__ __forceinline__ float largest_magnitude(const uint4 (&vectors)[kVectorsAtOnce]) {
  using device::bf16_pair_magnitude_max;
  std::uint32_t maxima[kVectorsAtOnce];
#pragma unroll
  for (int i = 0; i < kVectorsAtOnce; ++i) {
    maxima[i] = bf16_pair_magnitude_max(bf16_pair_magnitude_max(vectors[i].x, vectors[i].y),
                                        bf16_pair_magnitude_max(vectors[i].z, vectors[i].w));
  }
  const bool upper = (lane_index() & 8) != 0;
  const std::uint32_t first =
      bf16_pair_magnitude_max(upper ? maxima[2] : maxima[0], __shfl_xor_sync(~0U, upper ? maxima[0] : maxima[2], 8));
  const std::uint32_t second =
      bf16_pair_magnitude_max(upper ? maxima[3] : maxima[1], __shfl_xor_sync(~0U, upper ? maxima[1] : maxima[3], 8));
  const bool odd = (lane_index() & 4) != 0;
  std::uint32_t largest = bf16_pair_magnitude_max(odd ? second : first, __shfl_xor_sync(~0U, odd ? first : second, 4));
  largest = bf16_pair_magnitude_max(largest, __shfl_xor_sync(~0U, largest, 2));
  largest = bf16_pair_magnitude_max(largest, __shfl_xor_sync(~0U, largest, 1));
  const float2 halves = device::bf16_pair_to_floats(largest);
  return fmaxf(fabsf(halves.x), fabsf(halves.y));
}

__device__ __forceinline__ uint2 encode_vector(const uint4& vector, float multiplier) {
  const float2 a = device::bf16_pair_to_floats(vector.x);
  const float2 b = device::bf16_pair_to_floats(vector.y);
  const float2 c = device::bf16_pair_to_floats(vector.z);
  const float2 d = device::bf16_pair_to_floats(vector.w);
  return {device::floats_to_e4m3(__fmul_rn(a.x, multiplier), __fmul_rn(a.y, multiplier), __fmul_rn(b.x, multiplier),
                                 __fmul_rn(b.y, multiplier)),
          device::floats_to_e4m3(__fmul_rn(c.x, multiplier), __fmul_rn(c.y, multiplier), __fmul_rn(d.x, multiplier),
                                 __fmul_rn(d.y, multiplier))};
}

/// The warp encodes `num_vectors` vectors of eight BF16 elements; sixteen lanes share a scale. `kWhole`: their number
/// is a multiple of 128. Otherwise what lies beyond the row counts as zero, and the last block may be short.
template <bool kWhole>
__device__ __forceinline__ void encode_vectors(const std::byte* input, std::byte* codes, std::byte* scales,
                                               int num_vectors) {
  constexpr int kStep = kVectorsAtOnce * 32;
  const int half = lane_index() / 16;
  for (int begin = 0; begin < num_vectors; begin += kStep) {
    uint4 vectors[kVectorsAtOnce];
#pragma unroll
    for (int i = 0; i < kVectorsAtOnce; ++i) {
      const int index = begin + i * 32 + lane_index();
      vectors[i] = kWhole || index < num_vectors ? reinterpret_cast<const uint4*>(input)[index] : uint4{0, 0, 0, 0};
    }
    const float amax = fmaxf(kMinAmax, largest_magnitude(vectors));
    const float multiplier = multiplier_of(amax);
    const int block = begin / 16 + lane_index() / 4 % 4 * 2 + half;
    if (lane_index() % 4 == 0 && (kWhole || block * 16 < num_vectors)) {
      reinterpret_cast<float*>(scales)[block] = __fmul_rn(amax, 1.0F / kE4m3Max);
    }
#pragma unroll
    for (int i = 0; i < kVectorsAtOnce; ++i) {
      const int index = begin + i * 32 + lane_index();
      const uint2 encoded = encode_vector(vectors[i], __shfl_sync(~0U, multiplier, half * 16 + i * 4));
      if (kWhole || index < num_vectors) reinterpret_cast<uint2*>(codes)[index] = encoded;
    }
  }
}

__device__ __forceinline__ void encode_segment(const std::byte* input, std::byte* codes, std::byte* scales,
                                               int num_vectors) {
  if (num_vectors % (kVectorsAtOnce * 32) == 0) {
    encode_vectors<true>(input, codes, scales, num_vectors);
    return;
  }
  encode_vectors<false>(input, codes, scales, num_vectors);
  // Codes and scales are stored in multiples of 16 bytes.
  if (num_vectors % 2 != 0 && lane_index() == 0) reinterpret_cast<uint2*>(codes)[num_vectors] = {0, 0};
  const int num_scales = (num_vectors + 15) / 16;
  if (const int scale = num_scales + lane_index(); scale < (num_scales + 3) / 4 * 4) {
    reinterpret_cast<float*>(scales)[scale] = 0;
  }
}

/// Encodes the item whose load is under way into the output buffer, and starts the load of `next`.
__device__ __forceinline__ void encode_item(Sender& sender, int item, int next) {
  const DispatchPlan& plan = sender.plan();
  std::byte* const buffer = sender.stage(0);
  device::barrier_wait(sender.barrier(0), sender.parity);
  device::bulk_wait_read<0>();
  device::debug_delay();
  __syncwarp();
  const Span row = segment_of(sender.split(item).segment, plan.input_segment, sender.block.call().rows.bytes);
  encode_segment(buffer, buffer + plan.output_offset, buffer + plan.scale_offset, static_cast<int>(row.size / 16));
  device::shared_writes_to_bulk_reads();
  sender.parity ^= 1;
  if (lane_index() == 0) sender.item(0) = next;
  if (next < sender.num_items()) load(sender, next, 0);
  __syncwarp();
}

/// The first item is encoded while the others route. Returns it; the next one is in the ring.
__device__ __forceinline__ int encode_first_item(Sender& sender) {
  const int item = sender.item(0);
  if (item >= sender.num_items()) return item;
  const int next = sender.drawn();
  if (next < sender.num_items()) sender.draw();
  encode_item(sender, item, next);
  return item;
}

/// Role: sender, rows quantised. One input and one output buffer: the next load starts as soon as the row is encoded,
/// the next encoding when the stores have read the output. `item` is encoded already and looked up; `lookup` is of the
/// one after it.
__device__ inline void send_quantised(Sender& sender, Lookup& lookup, int item) {
  while (item < sender.num_items()) {
    store(sender, item, 0);
    item = sender.item(0);
    __syncwarp();
    if (item >= sender.num_items()) break;
    settle(sender, lookup);
    const int next = sender.drawn();
    if (next < sender.num_items()) sender.draw();
    fetch(sender, next, 0, lookup);
    encode_item(sender, item, next);
  }
}

}  // namespace railyard::throughput
