// SPDX-License-Identifier: Apache-2.0
// Rows of input for the codec tests.
#pragma once

#include "codecs/element.hpp"
#include "codecs/implementation.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace railyard::codecs {

inline constexpr std::array kLevels{Level::scalar, Level::avx2, Level::avx512};
inline constexpr std::array kFloatTypes{DType::bf16, DType::fp16, DType::fp32};
inline constexpr std::array kCodecs{Codec::bf16, Codec::fp16, Codec::fp32, Codec::fp8_e4m3, Codec::fp8_e4m3_ue8m0};
inline constexpr std::array kHidden{8, 16, 24, 120, 128, 136, 1000, 2880, 7168};

template <class Enumerator>
constexpr std::size_t index(Enumerator value) {
  return static_cast<std::size_t>(value);
}

/// `values` rounded to `dtype`, as bytes.
inline std::vector<std::byte> elements_of(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::fp32) {
      std::memcpy(bytes.data() + i * sizeof(float), &values[i], sizeof(float));
    } else {
      const std::uint16_t code = dtype == DType::bf16 ? float_to_bf16(values[i]) : float_to_fp16(values[i]);
      std::memcpy(bytes.data() + i * sizeof code, &code, sizeof code);
    }
  }
  return bytes;
}

/// Element `i` of a row of `dtype`.
inline float element_value(DType dtype, const void* row, std::size_t i) {
  const auto* bytes = static_cast<const std::byte*>(row);
  if (dtype == DType::fp32) {
    float value = 0;
    std::memcpy(&value, bytes + i * sizeof value, sizeof value);
    return value;
  }
  std::uint16_t code = 0;
  std::memcpy(&code, bytes + i * sizeof code, sizeof code);
  return dtype == DType::bf16 ? bf16_to_float(code) : fp16_to_float(code);
}

enum class Content {
  normal,    // what activations look like
  any_bits,  // every pattern, NaN and infinities included
  tiny,      // denormals and zeros
};

/// `hidden` elements of `dtype` as bytes.
inline std::vector<std::byte> random_row(DType dtype, int hidden, Content content, std::uint32_t seed) {
  std::mt19937 generator(seed);
  const auto n = static_cast<std::size_t>(hidden);
  if (content == Content::normal) {
    std::normal_distribution<float> distribution(0.0F, 2.0F);
    std::vector<float> values(n);
    for (float& value : values) {
      value = distribution(generator);
    }
    return elements_of(dtype, values);
  }
  std::vector<std::byte> bytes(n * size_of(dtype));
  for (std::size_t i = 0; i < n; ++i) {
    auto word = static_cast<std::uint32_t>(generator());
    if (content == Content::tiny) {
      word &= dtype == DType::bf16 ? 0x80FFU : dtype == DType::fp16 ? 0x87FFU : 0x80FFFFFFU;
    }
    std::memcpy(bytes.data() + i * size_of(dtype), &word, size_of(dtype));
  }
  return bytes;
}

/// A test of one level, skipped with a message where the processor lacks it.
class LevelTest : public testing::TestWithParam<Level> {
 protected:
  void SetUp() override {
    if (!supported(GetParam())) {
      GTEST_SKIP() << "this processor has no " << name(GetParam());
    }
    table_ = &implementation(GetParam());
  }
  [[nodiscard]] const Implementation& table() const { return *table_; }

 private:
  const Implementation* table_ = nullptr;
};

inline std::string level_name(const testing::TestParamInfo<Level>& info) { return std::string(name(info.param)); }

}  // namespace railyard::codecs
