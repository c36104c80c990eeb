// SPDX-License-Identifier: Apache-2.0
// The row kernels written once over a vector type `V`; avx2.cpp and avx512.cpp define theirs and include this file
// after switching the target, so that the templates are compiled for it. `V` lives in an unnamed namespace: its
// instances have internal linkage and never stand in for another level's.
//
// V provides, all static and noexcept, for addresses of any alignment unless said:
//   Floats, kWidth            a vector of kWidth fp32 lanes
//   kPrefetchBytes, prefetch  how far ahead of a read to prefetch (past the row's end is legal)
//   load<T>(p)                kWidth elements of T, converted to fp32
//   load_raw(p), store_raw    fp32 lanes as they are
//   store_pair<T>(p, a, b)    2 * kWidth elements of T: one rounding to nearest even, canonical NaN
//   stream_pair<T>(p, a, b)   the same past the caches; p is a multiple of the bytes stored, at most 64
//   copy_lines<Stores>(d, s)  4 cache lines; d is 64-aligned for streaming stores
//   load_e4m3(p)              kWidth E4M3 codes, decoded
//   store_e4m3<Finite>(p, a, b, c, d)
//                             4 * kWidth elements to E4M3, saturating, NaN -> 0x7F; with Finite, the caller promises
//                             that none is NaN or of magnitude 464 or more
//   broadcast, add, multiply, fused(a, b, c) = a * b + c rounded once
//   Words, zero_words         a vector of storage codes
//   magnitude_codes<T>(p)     as many codes of T as fit, signs cleared
//   max_code<T>(a, b), greatest_code<T>(a)
//                             by lane, and over all lanes, as unsigned integers
#pragma once

#include "codecs/vector_blocks.hpp"
#include "codecs/vector_convert.hpp"
#include "codecs/vector_copy.hpp"
#include "codecs/vector_reduction.hpp"

#include <cstddef>

namespace railyard::codecs {

template <class V>
struct VectorKernels {
  template <DType From, DType To>
  static void convert(const void* source, void* destination, int hidden) noexcept {
    vector_convert<V, From, To>(source, destination, hidden);
  }

  template <class Format, DType Input>
  static void encode_blocks(const void* source, void* row, void* scales, int hidden) noexcept {
    vector_encode_blocks<V, Format, Input>(source, row, scales, hidden);
  }

  template <class Format, DType Output>
  static void decode_blocks(const void* row, const void* scales, void* destination, int hidden) noexcept {
    vector_decode_blocks<V, Format, Output>(row, scales, destination, hidden);
  }

  template <DType Input>
  static void accumulate(float* accumulator, const void* row, int hidden) noexcept {
    vector_accumulate<V, Input>(accumulator, row, hidden);
  }

  template <DType Input>
  static void accumulate_weighted(float* accumulator, float weight, const void* row, int hidden) noexcept {
    vector_accumulate_weighted<V, Input>(accumulator, weight, row, hidden);
  }

  template <DType Output>
  static void round(const float* accumulator, void* row, int hidden) noexcept {
    vector_round_elements<V, DType::fp32, Output>(accumulator, row, hidden);
  }

  template <DType Input, DType Output, Stores S>
  static void sum(const void* const* rows, const float* weights, int count, const float* initial, void* out,
                  int hidden) noexcept {
    vector_sum<V, Input, Output, S>(rows, weights, count, initial, out, hidden);
  }

  static void copy(const Destinations& destinations, const void* source, std::size_t bytes) noexcept {
    vector_copy<V>(destinations, source, bytes);
  }
};

}  // namespace railyard::codecs
