// SPDX-License-Identifier: Apache-2.0
// The level with 16 lanes: AVX-512 F, BW, VL, DQ. Runs only after implementation.cpp has asked the processor.
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
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
#endif

#include "codecs/vector_kernels.hpp"

namespace railyard::codecs {
namespace {

__m128i load_128(const void* source) noexcept { return _mm_loadu_si128(static_cast<const __m128i*>(source)); }
__m256i load_256(const void* source) noexcept { return _mm256_loadu_si256(static_cast<const __m256i*>(source)); }
__m512i load_512(const void* source) noexcept { return _mm512_loadu_si512(source); }
__mmask16 nan_lanes(__m512 values) noexcept { return _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q); }
__m512i magnitude_of(__m512i words) noexcept {
  return _mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(bits::kMagnitude)));
}

/// Lanes rounded to bf16, in the low halves of 32-bit lanes.
__m512i bf16_codes(__m512 values) noexcept {
  const __m512i words = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(words, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(words, odd), _mm512_set1_epi32(0x7FFF));
  return _mm512_mask_mov_epi32(_mm512_srli_epi32(rounded, 16), nan_lanes(values), _mm512_set1_epi32(kBf16Nan));
}

__m512 canonical_lanes(__m512 values) noexcept {
  return _mm512_castsi512_ps(_mm512_mask_mov_epi32(_mm512_castps_si512(values), nan_lanes(values),
                                                   _mm512_set1_epi32(static_cast<int>(kFp32Nan))));
}

__m256i fp16_codes(__m512 values) noexcept {
  // The conversion keeps the upper payload bits, so the canonical fp32 NaN becomes the canonical fp16 one.
  return _mm512_cvtps_ph(canonical_lanes(values), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/// Lanes of magnitude below 464 on their way to E4M3: kE4m3Offset plus the code's magnitude, and the sign in bit 11.
/// Adding 2^20 times the element's power of two (at least E4M3's smallest normal one, 2^-6), with the element's sign,
/// leaves the mantissa, rounded to its 3 bits, ties to even, in the low bits of the sum.
constexpr int kE4m3Offset = (127 - 6 + 20) << 3;
__m512i unfinished_e4m3_codes(__m512 values) noexcept {
  const __m512 sign_and_power =
      _mm512_and_ps(values, _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(bits::kSign | bits::kInfinity))));
  // The operand of larger magnitude, with the first one's sign.
  const __m512 power = _mm512_range_ps(sign_and_power, _mm512_set1_ps(0x1p-6F), 0x03);
  const __m512i magic = _mm512_add_epi32(_mm512_castps_si512(power), _mm512_set1_epi32(20 << 23));
  const __m512i sum = _mm512_castps_si512(_mm512_add_ps(values, _mm512_castsi512_ps(magic)));
  return _mm512_add_epi32(_mm512_sub_epi32(sum, magic), _mm512_srli_epi32(magic, 20));
}

/// Two vectors of the above to codes as signed 16-bit integers, in the order of packs: by 128-bit quarters.
__m512i finite_e4m3_codes(__m512 first, __m512 second) noexcept {
  const __m512i packed = _mm512_packus_epi32(unfinished_e4m3_codes(first), unfinished_e4m3_codes(second));
  // Low byte: the magnitude; high byte: 8 for a negative element. Times 1 and -16: the magnitude, less 128 if negative.
  const __m512i codes = _mm512_sub_epi16(packed, _mm512_set1_epi16(kE4m3Offset));
  return _mm512_maddubs_epi16(codes, _mm512_set1_epi16(static_cast<short>(0xF001)));
}

/// The same for any lanes: saturated, NaN to 0x7F.
__m512i e4m3_codes(__m512 first, __m512 second) noexcept {
  const __m512 limit = _mm512_set1_ps(kE4m3Max);
  const __m512 lower = _mm512_set1_ps(-kE4m3Max);
  const __m512i codes = finite_e4m3_codes(_mm512_max_ps(_mm512_min_ps(first, limit), lower),
                                          _mm512_max_ps(_mm512_min_ps(second, limit), lower));
  const __m512i ones = _mm512_set1_epi32(-1);
  const __m512i nan = _mm512_packs_epi32(_mm512_maskz_mov_epi32(nan_lanes(first), ones),
                                         _mm512_maskz_mov_epi32(nan_lanes(second), ones));
  return _mm512_mask_mov_epi16(codes, _mm512_movepi16_mask(nan), _mm512_set1_epi16(kE4m3Nan));
}

struct Avx512 {
  using Floats = __m512;
  static constexpr int kWidth = 16;
  static constexpr std::size_t kPrefetchBytes = 1024;

  static void prefetch(const void* address) noexcept { _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0); }

  static Floats load_raw(const void* source) noexcept { return _mm512_castsi512_ps(load_512(source)); }
  static void store_raw(void* destination, Floats values) noexcept {
    _mm512_storeu_si512(destination, _mm512_castps_si512(values));
  }

  template <DType T>
  static Floats load(const void* source) noexcept {
    if constexpr (T == DType::bf16) {
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_256(source)), 16));
    } else if constexpr (T == DType::fp16) {
      return _mm512_cvtph_ps(load_256(source));
    } else {
      return load_raw(source);
    }
  }

  /// Two vectors as 32 elements of a 16-bit type.
  template <DType T>
  static __m512i halves(Floats first, Floats second) noexcept {
    if constexpr (T == DType::bf16) {
      const __m512i packed = _mm512_packus_epi32(bf16_codes(first), bf16_codes(second));
      return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), packed);
    } else {
      return _mm512_inserti64x4(_mm512_castsi256_si512(fp16_codes(first)), fp16_codes(second), 1);
    }
  }

  template <DType T>
  static void store_pair(void* destination, Floats first, Floats second) noexcept {
    auto* const out = static_cast<std::byte*>(destination);
    if constexpr (T == DType::fp32) {
      store_raw(out, canonical_lanes(first));
      store_raw(out + sizeof(Floats), canonical_lanes(second));
    } else {
      store_raw(out, _mm512_castsi512_ps(halves<T>(first, second)));
    }
  }

  static void stream_raw(void* destination, __m512i values) noexcept {
    _mm512_stream_si512(static_cast<__m512i*>(destination), values);
  }

  template <DType T>
  static void stream_pair(void* destination, Floats first, Floats second) noexcept {
    auto* const out = static_cast<std::byte*>(destination);
    if constexpr (T == DType::fp32) {
      stream_raw(out, _mm512_castps_si512(canonical_lanes(first)));
      stream_raw(out + sizeof(Floats), _mm512_castps_si512(canonical_lanes(second)));
    } else {
      stream_raw(out, halves<T>(first, second));
    }
  }

  template <Stores S>
  static void copy_lines(std::byte* destination, const std::byte* source) noexcept {
    __m512i parts[4];
    for (std::size_t i = 0; i < 4; ++i) {
      parts[i] = load_512(source + i * sizeof(__m512i));
    }
    for (std::size_t i = 0; i < 4; ++i) {
      std::byte* const out = destination + i * sizeof(__m512i);
      if constexpr (S == Stores::streaming) {
        stream_raw(out, parts[i]);
      } else {
        store_raw(out, _mm512_castsi512_ps(parts[i]));
      }
    }
  }

  /// E4M3 and fp16 differ in the exponent's bias by 8: shifted into place, a code is fp16 of the value times 2^-8,
  /// denormals included.
  static Floats load_e4m3(const std::byte* source) noexcept {
    const __m256i codes = _mm256_cvtepi8_epi16(load_128(source));
    const __m256i magnitude = _mm256_and_si256(_mm256_slli_epi16(codes, 7), _mm256_set1_epi16(0x3F80));
    const __m256i sign = _mm256_and_si256(codes, _mm256_set1_epi16(static_cast<short>(0x8000)));
    const __m512 values = _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(magnitude, sign)), _mm512_set1_ps(256.0F));
    // The NaN code arrives as 480.
    const __m512 magnitudes = _mm512_castsi512_ps(magnitude_of(_mm512_castps_si512(values)));
    const __mmask16 is_nan_code = _mm512_cmp_ps_mask(magnitudes, _mm512_set1_ps(kE4m3Max), _CMP_GT_OQ);
    return _mm512_mask_mov_ps(values, is_nan_code, _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(kFp32Nan))));
  }

  template <bool Finite>
  static void store_e4m3(std::byte* destination, Floats a, Floats b, Floats c, Floats d) noexcept {
    const __m512i low = Finite ? finite_e4m3_codes(a, b) : e4m3_codes(a, b);
    const __m512i high = Finite ? finite_e4m3_codes(c, d) : e4m3_codes(c, d);
    // The packs work within 128-bit quarters: quarter i holds four codes of a, then of b, c, d.
    const __m512i interleaved = _mm512_packs_epi16(low, high);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    store_raw(destination, _mm512_castsi512_ps(_mm512_permutexvar_epi32(order, interleaved)));
  }

  static Floats broadcast(float value) noexcept { return _mm512_set1_ps(value); }
  static Floats add(Floats a, Floats b) noexcept { return _mm512_add_ps(a, b); }
  static Floats multiply(Floats a, Floats b) noexcept { return _mm512_mul_ps(a, b); }
  static Floats fused(Floats a, Floats b, Floats c) noexcept { return _mm512_fmadd_ps(a, b, c); }

  using Words = __m512i;
  static Words zero_words() noexcept { return _mm512_setzero_si512(); }

  template <DType T>
  static Words magnitude_codes(const void* source) noexcept {
    if constexpr (T == DType::fp32) {
      return magnitude_of(load_512(source));
    } else {
      return _mm512_and_si512(load_512(source), _mm512_set1_epi16(0x7FFF));
    }
  }

  template <DType T>
  static Words max_code(Words a, Words b) noexcept {
    if constexpr (T == DType::fp32) {
      return _mm512_max_epu32(a, b);
    } else {
      return _mm512_max_epu16(a, b);
    }
  }

  template <DType T>
  static typename Element<T>::Storage greatest_code(Words codes) noexcept {
    if constexpr (T == DType::fp32) {
      return _mm512_reduce_max_epu32(codes);
    } else {
      const __m256i half = _mm256_max_epu16(_mm512_castsi512_si256(codes), _mm512_extracti64x4_epi64(codes, 1));
      const __m128i words = _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
      // The instruction finds the smallest of 8 words: that of the complements.
      const __m128i complements = _mm_xor_si128(words, _mm_set1_epi16(-1));
      return static_cast<std::uint16_t>(~_mm_cvtsi128_si32(_mm_minpos_epu16(complements)));
    }
  }
};

}  // namespace

const Implementation& avx512_implementation() noexcept {
  static constexpr Implementation kTable = Table<VectorKernels<Avx512>>::make();
  return kTable;
}

}  // namespace railyard::codecs

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif  // x86-64
