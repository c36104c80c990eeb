// SPDX-License-Identifier: Apache-2.0
#include "codecs/codec.hpp"
#include "codecs/row_format.hpp"

#include "guarded_row.hpp"
#include "inputs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace railyard::codecs {
namespace {

class DecodeTest : public LevelTest {
 protected:
  std::vector<float> decode_to_fp32(Codec codec, const void* row, const void* scales, int hidden) {
    GuardedRow out(static_cast<std::size_t>(hidden) * sizeof(float));
    table().decode[index(codec)][index(DType::fp32)](row, scales, out.data(), hidden);
    EXPECT_TRUE(out.guards_intact());
    return out.as<float>();
  }
};

TEST_P(DecodeTest, EveryCodeTimesItsScaleIsRoundedOnce) {
  std::vector<std::uint8_t> codes(256);
  std::iota(codes.begin(), codes.end(), std::uint8_t{0});
  const std::vector<float> scales{0.3F, 1e-30F};
  const std::vector<float> out = decode_to_fp32(Codec::fp8_e4m3, codes.data(), scales.data(), 256);
  for (std::size_t i = 0; i < 256; ++i) {
    ASSERT_EQ(bits_of(out[i]), bits_of(canonical(e4m3_to_float(codes[i]) * scales[i / 128]))) << "code " << i;
  }
  const std::vector<std::uint8_t> powers{120, 130};
  const std::vector<float> scaled = decode_to_fp32(Codec::fp8_e4m3_ue8m0, codes.data(), powers.data(), 256);
  for (std::size_t i = 0; i < 256; ++i) {
    const float scale = i < 128 ? 0x1p-7F : 0x1p3F;
    ASSERT_EQ(bits_of(scaled[i]), bits_of(canonical(e4m3_to_float(codes[i]) * scale))) << "code " << i;
  }
}

TEST_P(DecodeTest, SpecialScales) {
  const std::vector<std::uint8_t> codes{0x00, 0x80, 0x38, 0xB8, 0x7E, 0xFE, 0x01, 0x7F};
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> out = decode_to_fp32(Codec::fp8_e4m3, codes.data(), &infinity, 8);
  EXPECT_EQ(bits_of(out[0]), kFp32Nan);  // 0 * Inf
  EXPECT_EQ(out[2], infinity);
  EXPECT_EQ(out[3], -infinity);
  const std::uint8_t largest = 254;
  const std::vector<float> overflow = decode_to_fp32(Codec::fp8_e4m3_ue8m0, codes.data(), &largest, 8);
  EXPECT_EQ(overflow[0], 0.0F);
  EXPECT_EQ(overflow[2], 0x1p127F);
  EXPECT_EQ(overflow[4], infinity);
  EXPECT_EQ(overflow[5], -infinity);
  const std::uint8_t nan = 255;
  for (const float value : decode_to_fp32(Codec::fp8_e4m3_ue8m0, codes.data(), &nan, 8)) {
    EXPECT_EQ(bits_of(value), kFp32Nan);
  }
}

TEST_P(DecodeTest, EqualsScalarOnAnyRow) {
  std::uint32_t seed = 500;
  for (const Codec codec : kCodecs) {
    for (const DType output : kFloatTypes) {
      for (const int hidden : kHidden) {
        for (const std::size_t misalignment : {0U, 1U, 2U, 6U, 16U}) {
          SCOPED_TRACE(testing::Message() << railyard::name(codec) << " to " << railyard::name(output) << ", hidden "
                                          << hidden << ", seed " << seed << ", misaligned by " << misalignment);
          const RowFormat format = RowFormat::of(codec, hidden);
          std::mt19937 generator(seed++);
          std::vector<std::uint8_t> row(format.row_bytes);
          std::vector<std::uint8_t> scales(format.scale_bytes);
          std::generate(row.begin(), row.end(), [&] { return static_cast<std::uint8_t>(generator()); });
          std::generate(scales.begin(), scales.end(), [&] { return static_cast<std::uint8_t>(generator()); });
          const GuardedRow row_copy(row, misalignment);
          const GuardedRow scales_copy(scales, misalignment);
          GuardedRow expected(static_cast<std::size_t>(hidden) * size_of(output));
          GuardedRow out(static_cast<std::size_t>(hidden) * size_of(output), 2 * misalignment);
          scalar_implementation().decode[index(codec)][index(output)](row.data(), scales.data(), expected.data(),
                                                                      hidden);
          table().decode[index(codec)][index(output)](row_copy.data(), scales_copy.data(), out.data(), hidden);
          ASSERT_TRUE(std::ranges::equal(out.bytes(), expected.bytes()));
          ASSERT_TRUE(out.guards_intact());
        }
      }
    }
  }
}

// E4M3 has 3 mantissa bits: within half a step of 1/16 relative, or half a denormal step of the block's scale.
TEST_P(DecodeTest, InvertsEncodingWithinHalfAStep) {
  for (const Codec codec : {Codec::fp8_e4m3, Codec::fp8_e4m3_ue8m0}) {
    for (const int hidden : kHidden) {
      const RowFormat format = RowFormat::of(codec, hidden);
      const std::vector<std::byte> bytes = random_row(DType::fp32, hidden, Content::normal, 77);
      GuardedRow row(format.row_bytes);
      GuardedRow scales(format.scale_bytes);
      table().encode[index(codec)][index(DType::fp32)](bytes.data(), row.data(), scales.data(), hidden);
      const std::vector<float> out = decode_to_fp32(codec, row.data(), scales.data(), hidden);
      for (std::size_t i = 0; i < out.size(); ++i) {
        const float value = element_value(DType::fp32, bytes.data(), i);
        const float scale =
            codec == Codec::fp8_e4m3 ? scales.as<float>()[i / 128] : ue8m0_to_float(scales.as<std::uint8_t>()[i / 128]);
        const float bound = std::max(std::fabs(value) * 0x1p-4F, scale * 0x1p-10F) * 1.00001F;
        ASSERT_LE(std::fabs(out[i] - value), bound) << "element " << i << " of " << hidden << ": " << value;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, DecodeTest, testing::ValuesIn(kLevels), level_name);

}  // namespace
}  // namespace railyard::codecs
