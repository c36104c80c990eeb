// SPDX-License-Identifier: Apache-2.0
#include "reference/row_codec.hpp"

#include "values.hpp"

#include <bit>
#include <cmath>
#include <limits>

namespace railyard::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

EncodedRow encode(Codec codec, const std::vector<float>& values) {
  return encode_row(codec, DType::fp32, pack(values).data(), static_cast<int>(values.size()));
}

TEST(RowCodec, ScalesBy448ToTheLargestElement) {
  // amax 448: scale is 448 * fl(1/448), inverse is 1.
  const EncodedRow out = encode(Codec::fp8_e4m3, {448, -224, 1, 0, -0.0F, 1.0625F, 1.1875F, 0.001F});
  EXPECT_EQ(unpack<std::uint8_t>(out.row), (std::vector<std::uint8_t>{0x7E, 0xF6, 0x38, 0x00, 0x80, 0x38, 0x3A, 0x01}));
  EXPECT_EQ(unpack<float>(out.scales), std::vector<float>{448.0F * (1.0F / 448.0F)});
}

TEST(RowCodec, EachBlockHasItsScaleAndTheLastOneMayBeShort) {
  std::vector<float> values(136, 0.0F);
  values[0] = 896.0F;  // block 0: inverse 1/2
  values[127] = 2.0F;
  values[128] = -112.0F;  // block 1, eight elements: inverse 4
  values[129] = 1.0F;
  const EncodedRow out = encode(Codec::fp8_e4m3, values);
  const std::vector<std::uint8_t> row = unpack<std::uint8_t>(out.row);
  ASSERT_EQ(row.size(), 136U);
  EXPECT_EQ(row[0], 0x7E);
  EXPECT_EQ(row[1], 0x00);
  EXPECT_EQ(row[127], 0x38);
  EXPECT_EQ(row[128], 0xFE);
  EXPECT_EQ(row[129], 0x48);  // 4
  EXPECT_EQ(unpack<float>(out.scales), (std::vector<float>{896.0F * (1.0F / 448.0F), 112.0F * (1.0F / 448.0F)}));
}

TEST(RowCodec, ZeroBlocksHaveTheScaleOfTheSmallestAmax) {
  const EncodedRow out = encode(Codec::fp8_e4m3, {0, 0, 0, 0, 0, 0, -0.0F, 5e-5F});
  EXPECT_EQ(unpack<std::uint8_t>(out.row),
            (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 0x80, 0x76}));  // 5e-5 * 448/1e-4 = 224
  EXPECT_EQ(unpack<float>(out.scales), std::vector<float>{1e-4F * (1.0F / 448.0F)});
  const EncodedRow power = encode(Codec::fp8_e4m3_ue8m0, std::vector<float>(8, 0.0F));
  EXPECT_EQ(unpack<std::uint8_t>(power.scales), std::vector<std::uint8_t>{105});  // 2^-22 >= 1e-4/448 > 2^-23
}

TEST(RowCodec, NanIsIgnoredInTheMaximumAndWritten7F) {
  const EncodedRow out = encode(Codec::fp8_e4m3, {kNan, 448, -kNan, 224, 1, 1, 1, 1});
  EXPECT_EQ(unpack<std::uint8_t>(out.row), (std::vector<std::uint8_t>{0x7F, 0x7E, 0x7F, 0x76, 0x38, 0x38, 0x38, 0x38}));
  EXPECT_EQ(unpack<float>(out.scales), std::vector<float>{448.0F * (1.0F / 448.0F)});
}

TEST(RowCodec, AnInfinityMakesItsBlockNanUnlessScalesArePowersOfTwo) {
  const std::vector<float> x{kInfinity, -kInfinity, 1, -1, 0, -0.0F, kNan, 3e38F};
  const EncodedRow out = encode(Codec::fp8_e4m3, x);
  EXPECT_EQ(unpack<std::uint8_t>(out.row), (std::vector<std::uint8_t>{0x7F, 0x7F, 0x00, 0x80, 0x00, 0x80, 0x7F, 0x00}));
  EXPECT_EQ(unpack<float>(out.scales), std::vector<float>{kInfinity});
  const EncodedRow power = encode(Codec::fp8_e4m3_ue8m0, x);
  // 3e38 * 2^-127 = 1.76: 0x3E is 1.75.
  EXPECT_EQ(unpack<std::uint8_t>(power.row),
            (std::vector<std::uint8_t>{0x7E, 0xFE, 0x00, 0x80, 0x00, 0x80, 0x7F, 0x3E}));
  EXPECT_EQ(unpack<std::uint8_t>(power.scales), std::vector<std::uint8_t>{0xFE});
  for (const float value : decode_row(Codec::fp8_e4m3, out.row.data(), out.scales.data(), 8)) {
    EXPECT_TRUE(std::isnan(value));
  }
  const std::vector<float> decoded = decode_row(Codec::fp8_e4m3_ue8m0, power.row.data(), power.scales.data(), 8);
  EXPECT_EQ(decoded[0], kInfinity);
  EXPECT_EQ(decoded[1], -kInfinity);
  EXPECT_EQ(decoded[2], 0.0F);
  EXPECT_TRUE(std::isnan(decoded[6]));
  EXPECT_EQ(decoded[7], std::ldexp(1.75F, 127));
}

TEST(RowCodec, PowerOfTwoScalesRoundUp) {
  // fl(1/448) is a little below 1/448 or above: 448 * it decides between 2^0 and 2^1, and 449 is always beyond.
  const EncodedRow low = encode(Codec::fp8_e4m3_ue8m0, {440, 1, -0.0F, 0, 0, 0, 0, 0});
  EXPECT_EQ(unpack<std::uint8_t>(low.scales), std::vector<std::uint8_t>{127});
  EXPECT_EQ(unpack<std::uint8_t>(low.row), (std::vector<std::uint8_t>{0x7E, 0x38, 0x80, 0, 0, 0, 0, 0}));
  const EncodedRow high = encode(Codec::fp8_e4m3_ue8m0, {449, 2, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(unpack<std::uint8_t>(high.scales), std::vector<std::uint8_t>{128});
  EXPECT_EQ(unpack<std::uint8_t>(high.row), (std::vector<std::uint8_t>{0x76, 0x38, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(decode_row(Codec::fp8_e4m3_ue8m0, high.row.data(), high.scales.data(), 8)[0], 448.0F);
}

TEST(RowCodec, ElementCodecsRoundOnceFromEveryInput) {
  const std::vector<float> x{1, 257, -0.0F, kInfinity, -kNan, 70000, 1e-8F, -2051};
  EXPECT_EQ(unpack<std::uint16_t>(encode(Codec::bf16, x).row),
            (std::vector<std::uint16_t>{0x3F80, 0x4380, 0x8000, 0x7F80, 0x7FFF, 0x4789, 0x322C, 0xC500}));
  EXPECT_EQ(unpack<std::uint16_t>(encode(Codec::fp16, x).row),
            (std::vector<std::uint16_t>{0x3C00, 0x5C04, 0x8000, 0x7C00, 0x7FFF, 0x7C00, 0x0000, 0xE802}));
  const Bytes half = pack(std::vector<std::uint16_t>{0x3C00, 0x0001, 0xFC00, 0x7C01, 0x8000, 0, 0, 0});
  EXPECT_EQ(unpack<std::uint32_t>(encode_row(Codec::fp32, DType::fp16, half.data(), 8).row),
            (std::vector<std::uint32_t>{0x3F800000, 0x33800000, 0xFF800000, 0x7FFFFFFF, 0x80000000, 0, 0, 0}));
  EXPECT_TRUE(encode(Codec::bf16, x).scales.empty());
  EXPECT_THROW(static_cast<void>(encode_row(Codec::bf16, DType::fp8_e4m3, half.data(), 8)), std::invalid_argument);
}

}  // namespace
}  // namespace railyard::reference
