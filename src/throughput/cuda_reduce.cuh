// SPDX-License-Identifier: Apache-2.0
// The arithmetic of combine on one lane's vectors: fp32, one rounding per addition, one at the end (design: the numeric
// contract; src/codecs/reduction.hpp is the host's).
#pragma once

#include "device/convert.cuh"
#include "device/memory.cuh"

#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

/// Elements of y in 16 bytes.
template <DType kY>
inline constexpr int kElements = kY == DType::fp32 ? 4 : 8;

template <DType kY>
__device__ __forceinline__ void unpack(const uint4& vector, float (&values)[kElements<kY>]) {
  const std::uint32_t words[4] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (kY == DType::fp32) {
      values[i] = __uint_as_float(words[i]);
    } else {
      const float2 pair =
          kY == DType::bf16 ? device::bf16_pair_to_floats(words[i]) : device::fp16_pair_to_floats(words[i]);
      values[2 * i] = pair.x;
      values[2 * i + 1] = pair.y;
    }
  }
}

/// The inverse, rounded once; NaN is written canonically.
template <DType kY>
__device__ __forceinline__ uint4 pack(const float (&values)[kElements<kY>]) {
  std::uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (kY == DType::fp32) {
      words[i] = __float_as_uint(device::canonical(values[i]));
    } else {
      words[i] = kY == DType::bf16 ? device::floats_to_bf16_pair(values[2 * i], values[2 * i + 1])
                                   : device::floats_to_fp16_pair(values[2 * i], values[2 * i + 1]);
    }
  }
  return {words[0], words[1], words[2], words[3]};
}

/// One element of any address that is a multiple of its size.
__device__ __forceinline__ float load_element(const std::byte* address, DType dtype) {
  if (dtype == DType::fp32) return *reinterpret_cast<const float*>(address);
  const std::uint32_t code = *reinterpret_cast<const std::uint16_t*>(address);
  return dtype == DType::bf16 ? device::bf16_pair_to_floats(code).x : device::fp16_pair_to_floats(code).x;
}

__device__ __forceinline__ void store_element(std::byte* address, DType dtype, float value) {
  if (dtype == DType::fp32) {
    *reinterpret_cast<float*>(address) = device::canonical(value);
  } else {
    const std::uint32_t code =
        dtype == DType::bf16 ? device::floats_to_bf16_pair(value, 0) : device::floats_to_fp16_pair(value, 0);
    *reinterpret_cast<std::uint16_t*>(address) = static_cast<std::uint16_t>(code);
  }
}

__device__ __forceinline__ std::size_t element_bytes(DType dtype) { return dtype == DType::fp32 ? 4 : 2; }

/// `kCount` consecutive elements; `whole`: their address is a multiple of their bytes, up to 16.
template <int kCount>
__device__ __forceinline__ void load_elements(const std::byte* address, DType dtype, bool whole,
                                              float (&values)[kCount]) {
  if (!whole) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = load_element(address + i * element_bytes(dtype), dtype);
  } else if (dtype == DType::fp32) {
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      const float4 four = reinterpret_cast<const float4*>(address)[i];
      values[4 * i] = four.x;
      values[4 * i + 1] = four.y;
      values[4 * i + 2] = four.z;
      values[4 * i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      const uint2 two = reinterpret_cast<const uint2*>(address)[i];
      const float2 low = dtype == DType::bf16 ? device::bf16_pair_to_floats(two.x) : device::fp16_pair_to_floats(two.x);
      const float2 high =
          dtype == DType::bf16 ? device::bf16_pair_to_floats(two.y) : device::fp16_pair_to_floats(two.y);
      values[4 * i] = low.x;
      values[4 * i + 1] = low.y;
      values[4 * i + 2] = high.x;
      values[4 * i + 3] = high.y;
    }
  }
}

/// The same, rounded once on the way; NaN is written canonically.
template <int kCount>
__device__ __forceinline__ void store_elements(std::byte* address, DType dtype, bool whole,
                                               const float (&values)[kCount]) {
  if (!whole) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) store_element(address + i * element_bytes(dtype), dtype, values[i]);
    return;
  }
  if (dtype == DType::fp32) {
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      reinterpret_cast<float4*>(address)[i] = {device::canonical(values[4 * i]), device::canonical(values[4 * i + 1]),
                                               device::canonical(values[4 * i + 2]),
                                               device::canonical(values[4 * i + 3])};
    }
    return;
  }
  std::uint32_t pairs[kCount / 2];
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    pairs[i] = dtype == DType::bf16 ? device::floats_to_bf16_pair(values[2 * i], values[2 * i + 1])
                                    : device::floats_to_fp16_pair(values[2 * i], values[2 * i + 1]);
  }
  if constexpr (kCount == 8) {
    device::store_streaming(address, {pairs[0], pairs[1], pairs[2], pairs[3]});
  } else {
    *reinterpret_cast<uint2*>(address) = {pairs[0], pairs[1]};
  }
}

}  // namespace railyard::throughput
