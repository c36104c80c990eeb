// SPDX-License-Identifier: Apache-2.0
#include "low_latency/wire_layout.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace railyard::low_latency {
namespace {

TEST(WireLayout, PartsOfASlotAreApartAlignedAndInside) {
  for (const int top_k : {1, 3, 32}) {
    for (const int hidden : {8, 24, 1000}) {
      const WireLayout layout = WireLayout::of(3, 2, 5, top_k, hidden, DType::bf16);
      std::vector<std::byte> wire(layout.bytes);
      const auto shape = routing::RowShape::of(Codec::fp8_e4m3, hidden);
      const auto widest = routing::RowShape::exact(DType::bf16, hidden, std::nullopt);
      std::byte* const slot = layout.slot(wire.data(), 1, 2, 4);
      EXPECT_EQ(slot + layout.slot_bytes, wire.data() + wire.size());
      const auto values = static_cast<std::size_t>(top_k) * 4;
      EXPECT_GE(layout.targets_offset, sizeof(std::int32_t));
      EXPECT_GE(layout.weights_offset, layout.targets_offset + values);
      EXPECT_GE(layout.row_offset, layout.weights_offset + values);
      EXPECT_EQ(layout.row_offset % 16, 0U);
      EXPECT_EQ(layout.slot_bytes % 16, 0U);
      EXPECT_LE(layout.row_offset + widest.row_bytes, layout.slot_bytes);
      EXPECT_LE(layout.scales(slot, shape) + shape.scale_bytes, slot + layout.slot_bytes);
    }
  }
}

TEST(WireLayout, EverySlotHasItsPlace) {
  const WireLayout layout = WireLayout::of(2, 2, 3, 4, 16, DType::bf16);
  std::vector<std::byte> wire(layout.bytes);
  std::byte* expected = wire.data();
  for (int slot = 0; slot < 2; ++slot) {
    for (int source = 0; source < 2; ++source) {
      for (int ordinal = 0; ordinal < 3; ++ordinal) {
        EXPECT_EQ(layout.slot(wire.data(), slot, source, ordinal), expected);
        expected += layout.slot_bytes;
      }
    }
  }
}

}  // namespace
}  // namespace railyard::low_latency
