// SPDX-License-Identifier: Apache-2.0
#include "codecs/implementation.hpp"

#include <railyard/error.hpp>

#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace railyard::codecs {
namespace {

#if defined(__x86_64__)
// __builtin_cpu_supports also asks whether the operating system saves the registers. Not every compiler knows its name
// for F16C, so that bit is read from the processor.
bool has_f16c() noexcept {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

bool has_avx2() noexcept {
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c();
}

bool has_avx512() noexcept {
  return has_avx2() && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
}

void initialise_cpu_support() noexcept { __builtin_cpu_init(); }
#else
bool has_avx2() noexcept { return false; }
bool has_avx512() noexcept { return false; }
void initialise_cpu_support() noexcept {}
#endif

Level find_best_level() noexcept {
  initialise_cpu_support();
  if (has_avx512()) {
    return Level::avx512;
  }
  return has_avx2() ? Level::avx2 : Level::scalar;
}

const Implementation& table_of(Level level) noexcept {
#if defined(__x86_64__)
  switch (level) {
    case Level::avx512:
      return avx512_implementation();
    case Level::avx2:
      return avx2_implementation();
    case Level::scalar:
      break;
  }
#else
  static_cast<void>(level);
#endif
  return scalar_implementation();
}

const Implementation& best() noexcept {
  static const Implementation& table = table_of(best_level());
  return table;
}

std::size_t index_of(DType dtype, const char* what) {
  const auto index = static_cast<std::size_t>(dtype);
  if (index >= kNumFloatTypes) {
    throw Error(ErrorCode::unsupported, std::string(what) + " type is " + std::string(railyard::name(dtype)) +
                                            "; rows can be bf16, fp16 or fp32");
  }
  return index;
}

}  // namespace

Level best_level() noexcept {
  static const Level level = find_best_level();
  return level;
}

bool supported(Level level) noexcept { return level <= best_level(); }

const Implementation& implementation(Level level) {
  if (!supported(level)) {
    throw Error(ErrorCode::unsupported, "level " + std::string(name(level)) +
                                            " is not available; this processor's best is " +
                                            std::string(name(best_level())));
  }
  return table_of(level);
}

std::string_view name(Level level) noexcept {
  switch (level) {
    case Level::scalar:
      return "scalar";
    case Level::avx2:
      return "avx2";
    case Level::avx512:
      return "avx512";
  }
  return "unknown";
}

EncodeRow encoder(Codec codec, DType input) {
  return best().encode.at(static_cast<std::size_t>(codec))[index_of(input, "encoder input")];
}

DecodeRow decoder(Codec codec, DType output) {
  return best().decode.at(static_cast<std::size_t>(codec))[index_of(output, "decoder output")];
}

AccumulateRow accumulate(DType input) { return best().accumulate[index_of(input, "accumulate input")]; }

AccumulateWeightedRow accumulate_weighted(DType input) {
  return best().accumulate_weighted[index_of(input, "accumulate_weighted input")];
}

RoundRow round_row(DType output) { return best().round[index_of(output, "round_row output")]; }

SumRows sum_rows(DType input, DType output, Stores stores) {
  const std::size_t input_index = index_of(input, "sum_rows input");
  const std::size_t output_index = index_of(output, "sum_rows output");
  return best().sum[static_cast<std::size_t>(stores)][input_index][output_index];
}

void copy_row_to(const Destinations& destinations, const void* source, std::size_t bytes) noexcept {
  best().copy(destinations, source, bytes);
}

void store_fence() noexcept {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace railyard::codecs
