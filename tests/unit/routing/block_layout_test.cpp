// SPDX-License-Identifier: Apache-2.0
#include "routing/block_layout.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace railyard::routing {
namespace {

TEST(RowShape, PitchesAreMultiplesOfSixteen) {
  const RowShape shape = RowShape::of(Codec::fp8_e4m3, 1000);
  EXPECT_EQ(shape.row_bytes, 1000U);
  EXPECT_EQ(shape.row_pitch, 1008U);
  EXPECT_EQ(shape.num_scales, 8);
  EXPECT_EQ(shape.scale_bytes, 32U);
  EXPECT_EQ(shape.scale_pitch, 32U);
  const RowShape ue8m0 = RowShape::of(Codec::fp8_e4m3_ue8m0, 1000);
  EXPECT_EQ(ue8m0.scale_bytes, 8U);
  EXPECT_EQ(ue8m0.scale_pitch, 16U);
  EXPECT_EQ(RowShape::exact(DType::int64, 8, std::nullopt).row_bytes, 64U);
  EXPECT_EQ(RowShape::exact(DType::fp8_e4m3, 7168, DType::uint8).scale_bytes, 56U);
}

TEST(PayloadLayout, ArraysAreApartAndAligned) {
  const RowShape shape = RowShape::of(Codec::fp8_e4m3, 24);
  const PayloadLayout layout = PayloadLayout::of(7, shape, 3);
  EXPECT_EQ(layout.rows_offset, 0U);
  EXPECT_GE(layout.scales_offset, 7 * shape.row_pitch);
  EXPECT_GE(layout.weights_offset, layout.scales_offset + 7 * shape.scale_pitch);
  EXPECT_GE(layout.bytes, layout.weights_offset + 7 * 3 * sizeof(float));
  EXPECT_EQ(layout.scales_offset % 256, 0U);
  EXPECT_EQ(layout.weights_offset % 256, 0U);
  EXPECT_EQ(PayloadLayout::of(0, shape, 3).bytes, 0U);
}

TEST(DefaultCapacity, HoldsAnyRoutingWithoutDuplicates) {
  EXPECT_EQ(default_capacity(Layout::rank_major, 4, 100, 8, 16, 1), 400);
  EXPECT_EQ(default_capacity(Layout::expert_slots, 4, 100, 8, 16, 1), 400);
  EXPECT_EQ(default_capacity(Layout::expert_major, 4, 100, 8, 16, 1), 3200);
  EXPECT_EQ(default_capacity(Layout::expert_major, 4, 100, 8, 3, 128), 1664);  // 1200 + 3 * 127 = 1581, rounded up
  EXPECT_EQ(default_capacity(Layout::expert_major, 4, 100, 8, 0, 128), 0);
}

}  // namespace
}  // namespace railyard::routing
