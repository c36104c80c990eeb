// SPDX-License-Identifier: Apache-2.0
// Combine's sums: what a reducer warp does with the chunks in its ring, from the first row to out.
#pragma once

#include "throughput/cuda_combine_block.cuh"
#include "throughput/cuda_reduce.cuh"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

/// One lane's part of an item: vector v of the lane is the (v * 32 + lane)th of the chunk.
template <DType kY, int kVectors>
struct Accumulator {
  static constexpr int kCount = kElements<kY>;
  float values[kVectors][kCount];

  /// +0 or the biases, in front of the rows: a sum of -0 is +0.
  __device__ __forceinline__ void start(const CombineBlock& block, const PendingLoad& load) {
#pragma unroll
    for (auto& vector : values) {
#pragma unroll
      for (float& value : vector) value = 0.0F;
    }
    const CombineLaunch& call = block.p.call;
    if (call.biases[0].data == nullptr) return;
    const auto token = static_cast<std::size_t>(load.token);
    const int num_vectors = block.num_vectors(load);
    const std::size_t first_element = block.chunk_begin(load.chunk()) / (kY == DType::fp32 ? 4 : 2);
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const auto& bias = call.biases[which];
      if (bias.data == nullptr) break;
      const std::byte* const row = bias.data + token * bias.pitch + first_element * element_bytes(bias.dtype);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int index = v * 32 + lane_index();
        if (index >= num_vectors) continue;
        float loaded[kCount];
        load_elements(row + static_cast<std::size_t>(index) * kCount * element_bytes(bias.dtype), bias.dtype,
                      block.p.plan.vector_bias[which], loaded);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          values[v][i] = which == 0 ? loaded[i] : __fadd_rn(values[v][i], loaded[i]);
        }
      }
    }
  }

  /// Adds a chunk to the values, or to +0 where it `sets` them.
  template <bool kSets>
  __device__ __forceinline__ void add(const std::byte* chunk, int num_vectors) {
    const uint4* const mine = reinterpret_cast<const uint4*>(chunk) + lane_index();
    uint4 vectors[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      vectors[v] = v * 32 + lane_index() < num_vectors ? mine[v * 32] : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      float row[kCount];
      unpack<kY>(vectors[v], row);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[v][i] = __fadd_rn(kSets ? 0.0F : values[v][i], row[i]);
    }
  }

  /// A vector of out for each of y: a fifth of the instructions.
  __device__ __forceinline__ void finish_packed(const CombineBlock& block, const PendingLoad& load,
                                                int num_vectors) const {
    std::byte* const out = block.packed_out(load) + lane_index() * 16;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (v * 32 + lane_index() < num_vectors) device::store_streaming(out + v * kChunkStep, pack<kY>(values[v]));
    }
  }

  __device__ __forceinline__ void finish(const CombineBlock& block, const PendingLoad& load) const {
    const CombineLaunch& call = block.p.call;
    const bool nan = load.has(PendingLoad::kNan);
    const int num_vectors = block.num_vectors(load);
    if (block.p.plan.packed_out && !nan) return finish_packed(block, load, num_vectors);
    const auto token = static_cast<std::size_t>(load.token);
    const std::size_t first_element = block.chunk_begin(load.chunk()) / (kY == DType::fp32 ? 4 : 2);
    std::byte* const row = call.out + token * call.out_pitch + first_element * element_bytes(call.out_dtype);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int index = v * 32 + lane_index();
      if (index >= num_vectors) continue;
      float result[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) result[i] = nan ? __uint_as_float(0x7FFFFFFFU) : values[v][i];
      store_elements(row + static_cast<std::size_t>(index) * kCount * element_bytes(call.out_dtype), call.out_dtype,
                     block.p.plan.vector_out, result);
    }
  }
};

/// What a warp does with a stage of a plain launch.
template <DType kY, int kVectors>
struct PlainReduction {
  static_assert(kY == DType::bf16 || kY == DType::fp16);
  static constexpr int kAll = kVectors * 32;  // vectors of a chunk
  Accumulator<kY, kVectors> accumulator;

  __device__ __forceinline__ void prepare(const CombineBlock&, const PendingLoad&) {}
  __device__ __forceinline__ void add(const CombineBlock&, const PendingLoad& load, const std::byte* chunk) {
    if (load.has(PendingLoad::kFirst | PendingLoad::kData)) {
      accumulator.template add<true>(chunk, kAll);
    } else if (load.has(PendingLoad::kData)) {
      accumulator.template add<false>(chunk, kAll);
    }
  }
  __device__ __forceinline__ void finish(const CombineBlock& block, const PendingLoad& load) const {
    if (load.has(PendingLoad::kData)) return accumulator.finish_packed(block, load, kAll);
    // No row at all, or lost ones.
    const std::uint32_t word = load.has(PendingLoad::kNan) ? 0x7FFF7FFFU : 0;
    std::byte* const out = block.packed_out(load) + lane_index() * 16;
#pragma unroll 1
    for (int v = 0; v < kVectors; ++v) device::store_streaming(out + v * kChunkStep, {word, word, word, word});
  }
};

/// The same of any other launch.
template <DType kY>
struct GeneralReduction {
  static constexpr int kAll = kVectorsPerLane * 32;
  Accumulator<kY, kVectorsPerLane> accumulator;

  /// In front of the wait for the row: biases are on their way meanwhile.
  __device__ __forceinline__ void prepare(const CombineBlock& block, const PendingLoad& load) {
    if (load.has(PendingLoad::kFirst)) accumulator.start(block, load);
  }
  __device__ __forceinline__ void add(const CombineBlock& block, const PendingLoad& load, const std::byte* chunk) {
    if (!load.has(PendingLoad::kData)) return;
    const int num_vectors = block.num_vectors(load);
    if (num_vectors == kAll) {
      accumulator.template add<false>(chunk, kAll);
    } else {
      accumulator.template add<false>(chunk, num_vectors);
    }
  }
  __device__ __forceinline__ void finish(const CombineBlock& block, const PendingLoad& load) const {
    accumulator.finish(block, load);
  }
};

/// Of a launch with these CombinePlan::plain_vectors.
template <DType kY, int kPlainVectors>
struct ReductionOf {
  using Type = PlainReduction<kY, kPlainVectors>;
};
template <DType kY>
struct ReductionOf<kY, 0> {
  using Type = GeneralReduction<kY>;
};

}  // namespace railyard::throughput
