// SPDX-License-Identifier: Apache-2.0
#include "codecs/row_format.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <string>

namespace railyard::codecs {
namespace {

TEST(RowFormat, ElementCodecsHaveNoScales) {
  const RowFormat format = RowFormat::of(Codec::bf16, 7168);
  EXPECT_EQ(format.block, 0);
  EXPECT_EQ(format.num_scales, 0);
  EXPECT_EQ(format.row_bytes, 14336U);
  EXPECT_EQ(format.row_pitch, 14336U);
  EXPECT_EQ(format.scale_bytes, 0U);
  EXPECT_EQ(format.scale_pitch, 0U);
  EXPECT_EQ(RowFormat::of(Codec::fp16, 24).row_bytes, 48U);
  EXPECT_EQ(RowFormat::of(Codec::fp32, 24).row_bytes, 96U);
}

TEST(RowFormat, PitchesAreRoundedUpTo16) {
  const RowFormat format = RowFormat::of(Codec::fp8_e4m3, 1000);
  EXPECT_EQ(format.block, 128);
  EXPECT_EQ(format.num_scales, 8);  // seven whole blocks and one of 104
  EXPECT_EQ(format.row_bytes, 1000U);
  EXPECT_EQ(format.row_pitch, 1008U);
  EXPECT_EQ(format.scale_bytes, 32U);
  EXPECT_EQ(format.scale_pitch, 32U);
}

TEST(RowFormat, LastBlockMayBeShort) {
  EXPECT_EQ(RowFormat::of(Codec::fp8_e4m3, 8).num_scales, 1);
  EXPECT_EQ(RowFormat::of(Codec::fp8_e4m3, 128).num_scales, 1);
  EXPECT_EQ(RowFormat::of(Codec::fp8_e4m3, 136).num_scales, 2);
  const RowFormat format = RowFormat::of(Codec::fp8_e4m3_ue8m0, 2880);
  EXPECT_EQ(format.num_scales, 23);
  EXPECT_EQ(format.scale_bytes, 23U);
  EXPECT_EQ(format.scale_pitch, 32U);
}

TEST(RowFormat, RefusesHiddenThatIsNotAPositiveMultipleOf8) {
  for (const int hidden : {-8, 0, 4, 12, 7167}) {
    try {
      static_cast<void>(RowFormat::of(Codec::bf16, hidden));
      FAIL() << "accepted hidden " << hidden;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      const std::string message = error.what();
      EXPECT_NE(message.find("hidden is " + std::to_string(hidden)), std::string::npos) << message;
      EXPECT_NE(message.find("multiple of 8"), std::string::npos) << message;
    }
  }
}

}  // namespace
}  // namespace railyard::codecs
