// SPDX-License-Identifier: Apache-2.0
// The level with 8 lanes: AVX2, FMA, F16C. Runs only after implementation.cpp has asked the processor.
#include "codecs/copy.hpp"
#include "codecs/element.hpp"
#include "codecs/fp8_e4m3.hpp"
#include "codecs/fp8_e4m3_ue8m0.hpp"
#include "codecs/implementation.hpp"
#include "codecs/table.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// Everything included above is compiled for the baseline; everything below for this level.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#include "codecs/vector_kernels.hpp"

namespace railyard::codecs {
namespace {

__m128i load_64(const void* source) noexcept { return _mm_loadl_epi64(static_cast<const __m128i*>(source)); }
__m128i load_128(const void* source) noexcept { return _mm_loadu_si128(static_cast<const __m128i*>(source)); }
__m256i load_256(const void* source) noexcept { return _mm256_loadu_si256(static_cast<const __m256i*>(source)); }
__m256i nan_lanes(__m256 values) noexcept { return _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q)); }
__m256i magnitude_of(__m256i words) noexcept {
  return _mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(bits::kMagnitude)));
}

/// Lanes rounded to bf16, in the low halves of 32-bit lanes.
__m256i bf16_codes(__m256 values) noexcept {
  const __m256i words = _mm256_castps_si256(values);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(words, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(words, odd), _mm256_set1_epi32(0x7FFF));
  return _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), _mm256_set1_epi32(kBf16Nan), nan_lanes(values));
}

__m256 canonical_lanes(__m256 values) noexcept {
  return _mm256_castsi256_ps(_mm256_blendv_epi8(_mm256_castps_si256(values),
                                                _mm256_set1_epi32(static_cast<int>(kFp32Nan)), nan_lanes(values)));
}

__m128i fp16_codes(__m256 values) noexcept {
  // The conversion keeps the upper payload bits, so the canonical fp32 NaN becomes the canonical fp16 one.
  return _mm256_cvtps_ph(canonical_lanes(values), _MM_FROUND_TO_NEAREST_INT);
}

/// Lanes of magnitude below 464 to E4M3 in the low bytes of 32-bit lanes. Adding 2^20 times the element's power of two
/// (at least E4M3's smallest normal one, 2^-6) leaves the mantissa, rounded to its 3 bits, ties to even, in the low
/// bits of the sum.
__m256i finite_e4m3_codes(__m256 values) noexcept {
  const __m256i words = _mm256_castps_si256(values);
  const __m256 power =
      _mm256_max_ps(_mm256_and_ps(values, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(bits::kInfinity)))),
                    _mm256_set1_ps(0x1p-6F));
  const __m256i magic = _mm256_add_epi32(_mm256_castps_si256(power), _mm256_set1_epi32(20 << 23));
  const __m256 magnitude = _mm256_castsi256_ps(magnitude_of(words));
  const __m256i sum = _mm256_castps_si256(_mm256_add_ps(magnitude, _mm256_castsi256_ps(magic)));
  const __m256i exponent = _mm256_sub_epi32(_mm256_srli_epi32(magic, 20), _mm256_set1_epi32((127 - 6 + 20) << 3));
  const __m256i code = _mm256_add_epi32(_mm256_sub_epi32(sum, magic), exponent);
  const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(words, 24), _mm256_set1_epi32(0x80));
  return _mm256_or_si256(code, sign);
}

/// The same for any lanes: saturated, NaN to 0x7F.
__m256i e4m3_codes(__m256 values) noexcept {
  const __m256 limit = _mm256_set1_ps(kE4m3Max);
  const __m256 lower = _mm256_set1_ps(-kE4m3Max);
  const __m256i codes = finite_e4m3_codes(_mm256_max_ps(_mm256_min_ps(values, limit), lower));
  return _mm256_blendv_epi8(codes, _mm256_set1_epi32(kE4m3Nan), nan_lanes(values));
}

struct Avx2 {
  using Floats = __m256;
  static constexpr int kWidth = 8;
  static constexpr std::size_t kPrefetchBytes = 1024;

  static void prefetch(const void* address) noexcept { _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0); }

  static Floats load_raw(const void* source) noexcept { return _mm256_castsi256_ps(load_256(source)); }
  static void store_raw(void* destination, Floats values) noexcept {
    _mm256_storeu_si256(static_cast<__m256i*>(destination), _mm256_castps_si256(values));
  }

  template <DType T>
  static Floats load(const void* source) noexcept {
    if constexpr (T == DType::bf16) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_128(source)), 16));
    } else if constexpr (T == DType::fp16) {
      return _mm256_cvtph_ps(load_128(source));
    } else {
      return load_raw(source);
    }
  }

  /// Two vectors as 16 elements of a 16-bit type.
  template <DType T>
  static __m256i halves(Floats first, Floats second) noexcept {
    if constexpr (T == DType::bf16) {
      const __m256i packed = _mm256_packus_epi32(bf16_codes(first), bf16_codes(second));
      return _mm256_permute4x64_epi64(packed, 0xD8);
    } else {
      return _mm256_inserti128_si256(_mm256_castsi128_si256(fp16_codes(first)), fp16_codes(second), 1);
    }
  }

  template <DType T>
  static void store_pair(void* destination, Floats first, Floats second) noexcept {
    auto* const out = static_cast<std::byte*>(destination);
    if constexpr (T == DType::fp32) {
      store_raw(out, canonical_lanes(first));
      store_raw(out + sizeof(Floats), canonical_lanes(second));
    } else {
      store_raw(out, _mm256_castsi256_ps(halves<T>(first, second)));
    }
  }

  static void stream_raw(void* destination, __m256i values) noexcept {
    _mm256_stream_si256(static_cast<__m256i*>(destination), values);
  }

  template <DType T>
  static void stream_pair(void* destination, Floats first, Floats second) noexcept {
    auto* const out = static_cast<std::byte*>(destination);
    if constexpr (T == DType::fp32) {
      stream_raw(out, _mm256_castps_si256(canonical_lanes(first)));
      stream_raw(out + sizeof(Floats), _mm256_castps_si256(canonical_lanes(second)));
    } else {
      stream_raw(out, halves<T>(first, second));
    }
  }

  template <Stores S>
  static void copy_lines(std::byte* destination, const std::byte* source) noexcept {
    __m256i parts[8];
    for (std::size_t i = 0; i < 8; ++i) {
      parts[i] = load_256(source + i * sizeof(__m256i));
    }
    for (std::size_t i = 0; i < 8; ++i) {
      std::byte* const out = destination + i * sizeof(__m256i);
      if constexpr (S == Stores::streaming) {
        stream_raw(out, parts[i]);
      } else {
        store_raw(out, _mm256_castsi256_ps(parts[i]));
      }
    }
  }

  /// E4M3 and fp16 differ in the exponent's bias by 8: shifted into place, a code is fp16 of the value times 2^-8,
  /// denormals included.
  static Floats load_e4m3(const std::byte* source) noexcept {
    const __m128i codes = _mm_cvtepi8_epi16(load_64(source));
    const __m128i magnitude = _mm_and_si128(_mm_slli_epi16(codes, 7), _mm_set1_epi16(0x3F80));
    const __m128i sign = _mm_and_si128(codes, _mm_set1_epi16(static_cast<short>(0x8000)));
    const __m256 values = _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(magnitude, sign)), _mm256_set1_ps(256.0F));
    // The NaN code arrives as 480.
    const __m256 magnitudes = _mm256_castsi256_ps(magnitude_of(_mm256_castps_si256(values)));
    const __m256 is_nan_code = _mm256_cmp_ps(magnitudes, _mm256_set1_ps(kE4m3Max), _CMP_GT_OQ);
    return _mm256_blendv_ps(values, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(kFp32Nan))), is_nan_code);
  }

  template <bool Finite>
  static __m256i codes_of(Floats values) noexcept {
    return Finite ? finite_e4m3_codes(values) : e4m3_codes(values);
  }

  template <bool Finite>
  static void store_e4m3(std::byte* destination, Floats a, Floats b, Floats c, Floats d) noexcept {
    const __m256i low = _mm256_packus_epi32(codes_of<Finite>(a), codes_of<Finite>(b));
    const __m256i high = _mm256_packus_epi32(codes_of<Finite>(c), codes_of<Finite>(d));
    // The packs work within 128-bit halves: a0-3 b0-3 c0-3 d0-3 | a4-7 b4-7 c4-7 d4-7.
    const __m256i interleaved = _mm256_packus_epi16(low, high);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    store_raw(destination, _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(interleaved, order)));
  }

  static Floats broadcast(float value) noexcept { return _mm256_set1_ps(value); }
  static Floats add(Floats a, Floats b) noexcept { return _mm256_add_ps(a, b); }
  static Floats multiply(Floats a, Floats b) noexcept { return _mm256_mul_ps(a, b); }
  static Floats fused(Floats a, Floats b, Floats c) noexcept { return _mm256_fmadd_ps(a, b, c); }

  using Words = __m256i;
  static Words zero_words() noexcept { return _mm256_setzero_si256(); }

  template <DType T>
  static Words magnitude_codes(const void* source) noexcept {
    if constexpr (T == DType::fp32) {
      return magnitude_of(load_256(source));
    } else {
      return _mm256_and_si256(load_256(source), _mm256_set1_epi16(0x7FFF));
    }
  }

  template <DType T>
  static Words max_code(Words a, Words b) noexcept {
    if constexpr (T == DType::fp32) {
      return _mm256_max_epu32(a, b);
    } else {
      return _mm256_max_epu16(a, b);
    }
  }

  template <DType T>
  static typename Element<T>::Storage greatest_code(Words codes) noexcept {
    const __m128i low = _mm256_castsi256_si128(codes);
    const __m128i high = _mm256_extracti128_si256(codes, 1);
    if constexpr (T == DType::fp32) {
      __m128i lanes = _mm_max_epu32(low, high);
      lanes = _mm_max_epu32(lanes, _mm_shuffle_epi32(lanes, 0x4E));
      lanes = _mm_max_epu32(lanes, _mm_shuffle_epi32(lanes, 0xB1));
      return static_cast<std::uint32_t>(_mm_cvtsi128_si32(lanes));
    } else {
      // The instruction finds the smallest of 8 words: that of the complements.
      const __m128i complements = _mm_xor_si128(_mm_max_epu16(low, high), _mm_set1_epi16(-1));
      return static_cast<std::uint16_t>(~_mm_cvtsi128_si32(_mm_minpos_epu16(complements)));
    }
  }
};

}  // namespace

const Implementation& avx2_implementation() noexcept {
  static constexpr Implementation kTable = Table<VectorKernels<Avx2>>::make();
  return kTable;
}

}  // namespace railyard::codecs

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif  // x86-64
