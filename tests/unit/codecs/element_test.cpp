// SPDX-License-Identifier: Apache-2.0
// The scalar conversions against vectors made with numpy and ml_dtypes (tests/vectors).
#include "codecs/element.hpp"

#include "vector_file.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace railyard::codecs {
namespace {

TEST(Element, EveryE4m3CodeDecodes) {
  const auto expected = read_vector_file<std::uint32_t>("e4m3_to_fp32.bin");
  ASSERT_EQ(expected.size(), 256U);
  for (std::uint32_t code = 0; code < 256; ++code) {
    EXPECT_EQ(bits_of(e4m3_to_float(static_cast<std::uint8_t>(code))), expected[code]) << "code " << code;
  }
}

TEST(Element, EveryE4m3CodeSurvivesARoundTrip) {
  for (std::uint32_t code = 0; code < 256; ++code) {
    const std::uint8_t back = float_to_e4m3(e4m3_to_float(static_cast<std::uint8_t>(code)));
    EXPECT_EQ(back, code == 0xFF ? 0x7FU : code);
  }
}

TEST(Element, EveryUe8m0CodeDecodes) {
  const auto expected = read_vector_file<std::uint32_t>("ue8m0_to_fp32.bin");
  ASSERT_EQ(expected.size(), 256U);
  for (std::uint32_t code = 0; code < 256; ++code) {
    EXPECT_EQ(bits_of(ue8m0_to_float(static_cast<std::uint8_t>(code))), expected[code]) << "code " << code;
  }
}

TEST(Element, EveryBf16BecomesE4m3Saturated) {
  const auto expected = read_vector_file<std::uint8_t>("bf16_to_e4m3.bin");
  ASSERT_EQ(expected.size(), 65536U);
  for (std::uint32_t code = 0; code < 65536; ++code) {
    ASSERT_EQ(float_to_e4m3(bf16_to_float(static_cast<std::uint16_t>(code))), expected[code]) << "code " << code;
  }
}

TEST(Element, EveryFp16Decodes) {
  const auto expected = read_vector_file<std::uint32_t>("fp16_to_fp32.bin");
  ASSERT_EQ(expected.size(), 65536U);
  for (std::uint32_t code = 0; code < 65536; ++code) {
    ASSERT_EQ(bits_of(canonical(fp16_to_float(static_cast<std::uint16_t>(code)))), expected[code]) << "code " << code;
  }
}

TEST(Element, EveryFp16AndBf16SurvivesARoundTrip) {
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const auto word = static_cast<std::uint16_t>(code);
    ASSERT_EQ(float_to_fp16(fp16_to_float(word)), (code & 0x7FFF) > 0x7C00 ? 0x7FFF : code);
    ASSERT_EQ(float_to_bf16(bf16_to_float(word)), (code & 0x7FFF) > 0x7F80 ? 0x7FFF : code);
  }
}

TEST(Element, Fp32RoundsToNearestEven) {
  const auto cases = read_vector_file<std::uint32_t>("fp32_cases.bin");
  const auto bf16 = read_vector_file<std::uint16_t>("fp32_cases_to_bf16.bin");
  const auto fp16 = read_vector_file<std::uint16_t>("fp32_cases_to_fp16.bin");
  const auto e4m3 = read_vector_file<std::uint8_t>("fp32_cases_to_e4m3.bin");
  ASSERT_GT(cases.size(), 10000U);
  ASSERT_EQ(bf16.size(), cases.size());
  ASSERT_EQ(fp16.size(), cases.size());
  ASSERT_EQ(e4m3.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const float value = float_from_bits(cases[i]);
    ASSERT_EQ(float_to_bf16(value), bf16[i]) << std::hex << cases[i];
    ASSERT_EQ(float_to_fp16(value), fp16[i]) << std::hex << cases[i];
    ASSERT_EQ(float_to_e4m3(value), e4m3[i]) << std::hex << cases[i];
  }
}

TEST(Element, WrittenNanIsCanonical) {
  for (const std::uint32_t word : {0x7FC00000U, 0xFFC00000U, 0x7F800001U, 0xFF800001U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    const float nan = float_from_bits(word);
    EXPECT_EQ(float_to_bf16(nan), 0x7FFF);
    EXPECT_EQ(float_to_fp16(nan), 0x7FFF);
    EXPECT_EQ(float_to_e4m3(nan), 0x7F);
    EXPECT_EQ(Element<DType::fp32>::from_float(nan), 0x7FFFFFFFU);
  }
}

TEST(Element, E4m3SaturatesBothSides) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(float_to_e4m3(448.0F), 0x7E);
  EXPECT_EQ(float_to_e4m3(std::nextafter(448.0F, kInfinity)), 0x7E);
  EXPECT_EQ(float_to_e4m3(480.0F), 0x7E);
  EXPECT_EQ(float_to_e4m3(kInfinity), 0x7E);
  EXPECT_EQ(float_to_e4m3(-kInfinity), 0xFE);
  EXPECT_EQ(float_to_e4m3(-1e30F), 0xFE);
}

TEST(Element, CeilLog2IsExact) {
  for (int exponent = -126; exponent <= 127; ++exponent) {
    const float power = std::ldexp(1.0F, exponent);
    EXPECT_EQ(ceil_log2(power), exponent);
    EXPECT_EQ(ceil_log2(std::nextafter(power, 3e38F)), exponent + 1);
    EXPECT_EQ(power_of_two(exponent), power);
  }
  for (int exponent = -149; exponent < -126; ++exponent) {
    EXPECT_EQ(power_of_two(exponent), std::ldexp(1.0F, exponent));
  }
  EXPECT_EQ(ceil_log2(std::numeric_limits<float>::infinity()), 128);
}

static_assert(float_to_bf16(1.0F) == 0x3F80 && float_to_fp16(1.0F) == 0x3C00 && float_to_e4m3(1.0F) == 0x38);

}  // namespace
}  // namespace railyard::codecs
