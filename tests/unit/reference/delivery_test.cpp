// SPDX-License-Identifier: Apache-2.0
// The bytes that arrive: rows, scales, padding and tail.
#include "small_case.hpp"

namespace railyard::reference {
namespace {

std::vector<std::uint8_t> one_byte_per_row(const Bytes& bytes, std::size_t row_bytes) {
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i < bytes.size(); i += row_bytes) {
    out.push_back(std::to_integer<std::uint8_t>(bytes[i]));
    for (std::size_t j = i; j < i + row_bytes; ++j) {
      EXPECT_EQ(bytes[j], bytes[i]) << "row " << i / row_bytes;
    }
  }
  return out;
}

TEST(Delivery, RowsArriveUnchangedWithoutACodec) {
  Config config = small_config(Layout::expert_major, {10, 4});
  config.alignment = 4;
  const Result out = dispatch(config, small_sources());
  const std::vector<float> rows = first_elements(out.received[0].rows);
  EXPECT_EQ(std::vector<float>(rows.begin(), rows.begin() + 8), (std::vector<float>{10, 20, 0, 0, 10, 20, 20, 0}));
  EXPECT_EQ(first_elements(out.received[1].rows), (std::vector<float>{10, 11, 11, 0}));
  EXPECT_EQ(out.received[0].row_bytes, 16U);
  EXPECT_EQ(out.received[0].payload_written,
            (std::vector<bool>{true, true, true, true, true, true, true, true, false, false}));
}

TEST(Delivery, NanPayloadsSurviveACopy) {
  Config config = small_config(Layout::rank_major, {3, 2});
  std::vector<Source> sources = small_sources();
  const std::vector<std::uint16_t> row{0x7F81, 0xFFC1, 0x8000, 0x0001, 0xFF80, 0, 1, 2};
  sources[1].x = pack(row);
  const std::vector<std::uint16_t> rows = unpack<std::uint16_t>(dispatch(config, sources).received[0].rows);
  EXPECT_EQ(std::vector<std::uint16_t>(rows.begin() + 8, rows.begin() + 16), row);
  config.codec = Codec::bf16;  // the type the rows have already: a copy too
  const std::vector<std::uint16_t> kept = unpack<std::uint16_t>(dispatch(config, sources).received[0].rows);
  EXPECT_EQ(std::vector<std::uint16_t>(kept.begin() + 8, kept.begin() + 16), row);
  config.codec = Codec::fp32;  // converted: NaN is canonical
  const std::vector<std::uint32_t> converted = unpack<std::uint32_t>(dispatch(config, sources).received[0].rows);
  EXPECT_EQ(std::vector<std::uint32_t>(converted.begin() + 8, converted.begin() + 16),
            (std::vector<std::uint32_t>{0x7FFFFFFF, 0x7FFFFFFF, 0x80000000, 0x00010000, 0xFF800000, 0, 0x00010000,
                                        0x00020000}));
}

TEST(Delivery, TheTailIsWrittenAsAskedAndPaddingAlwaysZero) {
  for (const Tail tail : {Tail::untouched, Tail::zero, Tail::poison}) {
    Config config = small_config(Layout::expert_major, {9, 4});
    config.alignment = 4;
    config.tail = tail;
    config.codec = Codec::fp8_e4m3;
    std::vector<Source> sources = small_sources();
    sources[0].x = bf16(std::vector<float>(16, 448));
    sources[1].x = bf16(std::vector<float>(8, 448));
    const Delivered out = dispatch(config, sources).received[0];
    EXPECT_EQ(out.row_bytes, 8U);
    EXPECT_EQ(out.scale_bytes, 4U);
    const std::uint8_t fill = tail == Tail::poison ? 0xFF : 0x00;
    EXPECT_EQ(one_byte_per_row(out.rows, 8), (std::vector<std::uint8_t>{0x7E, 0x7E, 0, 0, 0x7E, 0x7E, 0x7E, 0, fill}));
    const std::vector<std::uint32_t> scales = unpack<std::uint32_t>(out.scales);
    EXPECT_EQ(scales[0], std::bit_cast<std::uint32_t>(448.0F * (1.0F / 448.0F)));
    EXPECT_EQ(scales[2], 0U);
    EXPECT_EQ(scales[7], 0U);
    EXPECT_EQ(scales[8], tail == Tail::poison ? 0xFFFFFFFFU : 0U);
    EXPECT_EQ(out.payload_written[7], true);
    EXPECT_EQ(out.payload_written[8], tail != Tail::untouched);
    EXPECT_EQ(out.expert_ids[8], -1);
    EXPECT_EQ(out.weights[8], 0.0F);
  }
}

TEST(Delivery, UnusedSlotsAreTail) {
  Config config = small_config(Layout::expert_slots, {4, 3});
  config.tail = Tail::poison;
  const Delivered out = dispatch(config, small_sources()).received[0];
  std::vector<float> rows = first_elements(out.rows);
  EXPECT_NE(rows[2], rows[2]);  // NaN
  EXPECT_NE(rows[7], rows[7]);
  rows[2] = rows[3] = rows[7] = 0;
  EXPECT_EQ(rows, (std::vector<float>{10, 20, 0, 0, 10, 20, 20, 0}));
}

TEST(Delivery, RowsThatAreQuantisedAlreadyTravelWithTheirScales) {
  Config config = small_config(Layout::rank_major, {2, 2});
  config.hidden = 136;  // two scales
  config.input = DType::fp8_e4m3;
  config.input_scales = DType::uint8;
  std::vector<Source> sources = small_sources();
  sources[0].x = Bytes(2 * 136, std::byte{0x38});
  sources[0].scales = pack(std::vector<std::uint8_t>{1, 2, 3, 4});
  sources[1].x = Bytes(136, std::byte{0x7F});
  sources[1].scales = pack(std::vector<std::uint8_t>{5, 6});
  const Result out = dispatch(config, sources);
  EXPECT_EQ(unpack<std::uint8_t>(out.received[0].scales), (std::vector<std::uint8_t>{1, 2, 5, 6}));
  EXPECT_EQ(unpack<std::uint8_t>(out.received[1].scales), (std::vector<std::uint8_t>{1, 2, 3, 4}));
  EXPECT_EQ(one_byte_per_row(out.received[0].rows, 136), (std::vector<std::uint8_t>{0x38, 0x7F}));
  config.codec = Codec::fp8_e4m3;
  EXPECT_THROW(static_cast<void>(dispatch(config, sources)), std::invalid_argument);
}

}  // namespace
}  // namespace railyard::reference
