// SPDX-License-Identifier: Apache-2.0
#include "reference/element.hpp"

#include "values.hpp"

#include <bit>
#include <cmath>
#include <limits>

namespace railyard::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Element, DecodesE4m3) {
  EXPECT_EQ(decode_e4m3(0x00), 0.0F);
  EXPECT_TRUE(std::signbit(decode_e4m3(0x80)));
  EXPECT_EQ(decode_e4m3(0x01), 0.001953125F);  // 2^-9, the smallest denormal
  EXPECT_EQ(decode_e4m3(0x07), 0.013671875F);  // 7 * 2^-9, the largest one
  EXPECT_EQ(decode_e4m3(0x08), 0.015625F);     // 2^-6, the smallest normal number
  EXPECT_EQ(decode_e4m3(0x38), 1.0F);
  EXPECT_EQ(decode_e4m3(0x3C), 1.5F);
  EXPECT_EQ(decode_e4m3(0xC0), -2.0F);
  EXPECT_EQ(decode_e4m3(0x7E), 448.0F);
  EXPECT_TRUE(std::isnan(decode_e4m3(0x7F)));
  EXPECT_TRUE(std::isnan(decode_e4m3(0xFF)));
}

TEST(Element, EncodesE4m3NearestTiesToEvenSaturating) {
  EXPECT_EQ(encode_e4m3(0.0), 0x00);
  EXPECT_EQ(encode_e4m3(-0.0), 0x80);
  EXPECT_EQ(encode_e4m3(1.0625), 0x38);                // half-way between 1 and 1.125: the even code
  EXPECT_EQ(encode_e4m3(1.1875), 0x3A);                // half-way between 1.125 and 1.25
  EXPECT_EQ(encode_e4m3(std::ldexp(1.0, -10)), 0x00);  // half the smallest denormal
  EXPECT_EQ(encode_e4m3(std::ldexp(1.0, -10) * 1.001), 0x01);
  EXPECT_EQ(encode_e4m3(std::ldexp(-3.0, -10)), 0x82);
  EXPECT_EQ(encode_e4m3(432.0), 0x7E);  // half-way between 416 (odd code) and 448
  EXPECT_EQ(encode_e4m3(431.9), 0x7D);
  EXPECT_EQ(encode_e4m3(464.0), 0x7E);
  EXPECT_EQ(encode_e4m3(1e30), 0x7E);
  EXPECT_EQ(encode_e4m3(static_cast<double>(kInfinity)), 0x7E);
  EXPECT_EQ(encode_e4m3(static_cast<double>(-kInfinity)), 0xFE);
  EXPECT_EQ(encode_e4m3(static_cast<double>(kNan)), 0x7F);
  EXPECT_EQ(encode_e4m3(static_cast<double>(-kNan)), 0x7F);
}

TEST(Element, EveryE4m3CodeIsItsOwnNearest) {
  for (unsigned code = 0; code < 256; ++code) {
    if ((code & 0x7FU) != 0x7FU) {
      EXPECT_EQ(encode_e4m3(static_cast<double>(decode_e4m3(static_cast<std::uint8_t>(code)))), code);
    }
  }
}

TEST(Element, DecodesFp16) {
  EXPECT_EQ(decode_fp16(0x3C00), 1.0F);
  EXPECT_EQ(decode_fp16(0x0001), std::ldexp(1.0F, -24));
  EXPECT_EQ(decode_fp16(0x03FF), std::ldexp(1023.0F, -24));
  EXPECT_EQ(decode_fp16(0x0400), std::ldexp(1.0F, -14));
  EXPECT_EQ(decode_fp16(0x7BFF), 65504.0F);
  EXPECT_EQ(decode_fp16(0xC500), -5.0F);
  EXPECT_EQ(decode_fp16(0xFC00), -kInfinity);
  EXPECT_TRUE(std::isnan(decode_fp16(0x7C01)));
  EXPECT_TRUE(std::signbit(decode_fp16(0x8000)));
}

TEST(Element, EncodesFp16) {
  EXPECT_EQ(encode_fp16(1.0F), 0x3C00);
  EXPECT_EQ(encode_fp16(-0.0F), 0x8000);
  EXPECT_EQ(encode_fp16(2049.0F), 0x6800);  // between 2048 and 2050: even
  EXPECT_EQ(encode_fp16(2051.0F), 0x6802);  // between 2050 and 2052: even
  EXPECT_EQ(encode_fp16(65519.0F), 0x7BFF);
  EXPECT_EQ(encode_fp16(65520.0F), 0x7C00);  // half a step beyond the largest: infinity
  EXPECT_EQ(encode_fp16(1e10F), 0x7C00);
  EXPECT_EQ(encode_fp16(-kInfinity), 0xFC00);
  EXPECT_EQ(encode_fp16(std::ldexp(1.0F, -25)), 0x0000);  // half the smallest denormal
  EXPECT_EQ(encode_fp16(std::ldexp(3.0F, -25)), 0x0002);
  EXPECT_EQ(encode_fp16(std::ldexp(1.0F, -149)), 0x0000);
  EXPECT_EQ(encode_fp16(std::ldexp(2047.0F, -25)), 0x0400);  // from the denormals into the normal numbers
  EXPECT_EQ(encode_fp16(-kNan), 0x7FFF);
}

TEST(Element, EncodesBf16) {
  EXPECT_EQ(encode_bf16(1.0F), 0x3F80);
  EXPECT_EQ(encode_bf16(-0.0F), 0x8000);
  EXPECT_EQ(encode_bf16(257.0F), 0x4380);  // between 256 and 258: even
  EXPECT_EQ(encode_bf16(259.0F), 0x4382);  // between 258 and 260: even
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0x00008000U)), 0x0000);
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0x00018000U)), 0x0002);
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0x007FFFFFU)), 0x0080);  // from the denormals into the normal numbers
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0x7F7F7FFFU)), 0x7F7F);
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0x7F7F8000U)), 0x7F80);  // half a step beyond the largest: infinity
  EXPECT_EQ(encode_bf16(-kInfinity), 0xFF80);
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0xFF800001U)), 0x7FFF);
}

TEST(Element, EveryCodeOfSixteenBitsSurvivesARoundTrip) {
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    const auto half = static_cast<std::uint16_t>(code);
    const float fp16 = decode_fp16(half);
    ASSERT_EQ(encode_fp16(fp16), std::isnan(fp16) ? 0x7FFF : half);
    const float bf16 = std::bit_cast<float>(code << 16U);
    ASSERT_EQ(encode_bf16(bf16), std::isnan(bf16) ? 0x7FFF : half);
  }
}

TEST(Element, StoresCanonicalNan) {
  std::uint32_t bits = 0;
  store(DType::fp32, std::bit_cast<float>(0xFFC12345U), reinterpret_cast<std::byte*>(&bits));
  EXPECT_EQ(bits, 0x7FFFFFFFU);
  store(DType::fp32, -0.0F, reinterpret_cast<std::byte*>(&bits));
  EXPECT_EQ(bits, 0x80000000U);
  EXPECT_THROW(store(DType::fp8_e4m3, 1.0F, reinterpret_cast<std::byte*>(&bits)), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(load(DType::int32, reinterpret_cast<std::byte*>(&bits))), std::invalid_argument);
}

}  // namespace
}  // namespace railyard::reference
