// SPDX-License-Identifier: Apache-2.0
// Encoders of every level: against numpy's blocks, against the scalar level on every kind of input, and case by case.
#include "codecs/codec.hpp"
#include "codecs/fp8_e4m3.hpp"
#include "codecs/row_format.hpp"

#include "guarded_row.hpp"
#include "inputs.hpp"
#include "vector_file.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace railyard::codecs {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Encoded {
  GuardedRow row;
  GuardedRow scales;
};

Encoded encode(const Implementation& table, Codec codec, DType input, const void* source, int hidden,
               std::size_t misalignment = 0) {
  const RowFormat format = RowFormat::of(codec, hidden);
  Encoded out{GuardedRow(format.row_bytes, misalignment), GuardedRow(format.scale_bytes, misalignment)};
  table.encode[index(codec)][index(input)](source, out.row.data(), out.scales.data(), hidden);
  EXPECT_TRUE(out.row.guards_intact());
  EXPECT_TRUE(out.scales.guards_intact());
  return out;
}

class EncodeTest : public LevelTest {
 protected:
  Encoded encode_values(Codec codec, const std::vector<float>& values) {
    const std::vector<std::byte> source = elements_of(DType::fp32, values);
    return encode(table(), codec, DType::fp32, source.data(), static_cast<int>(values.size()));
  }
};

TEST_P(EncodeTest, BlocksEqualNumpy) {
  const auto blocks = read_vector_file<std::uint16_t>("blocks_bf16.bin");
  const auto hidden = static_cast<int>(blocks.size());
  ASSERT_EQ(hidden % 128, 0);
  const Encoded plain = encode(table(), Codec::fp8_e4m3, DType::bf16, blocks.data(), hidden);
  EXPECT_EQ(plain.scales.as<float>(), read_vector_file<float>("blocks_fp8_e4m3_scales.bin"));
  EXPECT_EQ(plain.row.as<std::uint8_t>(), read_vector_file<std::uint8_t>("blocks_fp8_e4m3_codes.bin"));
  const Encoded power = encode(table(), Codec::fp8_e4m3_ue8m0, DType::bf16, blocks.data(), hidden);
  EXPECT_EQ(power.scales.as<std::uint8_t>(), read_vector_file<std::uint8_t>("blocks_fp8_e4m3_ue8m0_scales.bin"));
  EXPECT_EQ(power.row.as<std::uint8_t>(), read_vector_file<std::uint8_t>("blocks_fp8_e4m3_ue8m0_codes.bin"));
}

TEST_P(EncodeTest, ElementCodecsEqualTheVectors) {
  const auto cases = read_vector_file<std::uint32_t>("fp32_cases.bin");
  const int hidden = static_cast<int>(cases.size());
  GuardedRow row(cases.size() * 2);
  table().encode[index(Codec::bf16)][index(DType::fp32)](cases.data(), row.data(), nullptr, hidden);
  EXPECT_EQ(row.as<std::uint16_t>(), read_vector_file<std::uint16_t>("fp32_cases_to_bf16.bin"));
  table().encode[index(Codec::fp16)][index(DType::fp32)](cases.data(), row.data(), nullptr, hidden);
  EXPECT_EQ(row.as<std::uint16_t>(), read_vector_file<std::uint16_t>("fp32_cases_to_fp16.bin"));
  EXPECT_TRUE(row.guards_intact());
}

TEST_P(EncodeTest, EveryFp16BecomesFp32) {
  std::vector<std::uint16_t> codes(65536);
  std::iota(codes.begin(), codes.end(), std::uint16_t{0});
  const Encoded out = encode(table(), Codec::fp32, DType::fp16, codes.data(), 65536);
  EXPECT_EQ(out.row.as<std::uint32_t>(), read_vector_file<std::uint32_t>("fp16_to_fp32.bin"));
}

// A block whose amax is 448 has multiplier 1, so the codes are those of the plain conversion.
TEST_P(EncodeTest, EveryBf16UpTo448BecomesItsE4m3Code) {
  const auto expected = read_vector_file<std::uint8_t>("bf16_to_e4m3.bin");
  std::vector<std::uint16_t> source;
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const float value = bf16_to_float(static_cast<std::uint16_t>(code));
    if (std::fabs(value) <= 448.0F || std::isnan(value)) {
      if (source.size() % 128 == 0) {
        source.push_back(float_to_bf16(448.0F));
      }
      source.push_back(static_cast<std::uint16_t>(code));
    }
  }
  source.resize(source.size() / 8 * 8);
  for (const Codec codec : {Codec::fp8_e4m3, Codec::fp8_e4m3_ue8m0}) {
    const Encoded out = encode(table(), codec, DType::bf16, source.data(), static_cast<int>(source.size()));
    const auto codes = out.row.as<std::uint8_t>();
    for (std::size_t i = 0; i < source.size(); ++i) {
      ASSERT_EQ(codes[i], expected[source[i]]) << "bf16 code " << source[i];
    }
  }
}

TEST_P(EncodeTest, EqualsScalarOnAnyRow) {
  std::uint32_t seed = 1;
  for (const Codec codec : kCodecs) {
    for (const DType input : kFloatTypes) {
      for (const int hidden : kHidden) {
        for (const Content content : {Content::normal, Content::any_bits, Content::tiny}) {
          for (const std::size_t misalignment : {0U, 1U, 2U, 4U, 16U, 34U}) {
            SCOPED_TRACE(testing::Message() << railyard::name(codec) << " from " << railyard::name(input) << ", hidden "
                                            << hidden << ", seed " << seed << ", misaligned by " << misalignment);
            const std::vector<std::byte> bytes = random_row(input, hidden, content, seed++);
            const GuardedRow source(bytes, misalignment);
            const Encoded expected = encode(scalar_implementation(), codec, input, bytes.data(), hidden);
            const Encoded out = encode(table(), codec, input, source.data(), hidden, 3 * misalignment);
            ASSERT_TRUE(std::ranges::equal(out.row.bytes(), expected.row.bytes()));
            ASSERT_TRUE(std::ranges::equal(out.scales.bytes(), expected.scales.bytes()));
          }
        }
      }
    }
  }
}

TEST_P(EncodeTest, EqualsScalarOnEvery16BitInput) {
  std::vector<std::uint16_t> codes(65536);
  std::iota(codes.begin(), codes.end(), std::uint16_t{0});
  for (const Codec codec : kCodecs) {
    for (const DType input : {DType::bf16, DType::fp16}) {
      const Encoded expected = encode(scalar_implementation(), codec, input, codes.data(), 65536);
      const Encoded out = encode(table(), codec, input, codes.data(), 65536);
      EXPECT_TRUE(std::ranges::equal(out.row.bytes(), expected.row.bytes()));
      EXPECT_TRUE(std::ranges::equal(out.scales.bytes(), expected.scales.bytes()));
    }
  }
}

TEST_P(EncodeTest, SameTypeIsACopyNanPayloadsIncluded) {
  for (const DType input : kFloatTypes) {
    const auto codec = static_cast<Codec>(input);
    const std::vector<std::byte> source = random_row(input, 4096, Content::any_bits, 99);
    const Encoded out = encode(table(), codec, input, source.data(), 4096);
    EXPECT_TRUE(std::ranges::equal(out.row.bytes(), source));
  }
}

TEST_P(EncodeTest, ZeroBlockHasTheSmallestScale) {
  const Encoded plain = encode_values(Codec::fp8_e4m3, std::vector<float>(128, 0.0F));
  EXPECT_EQ(plain.scales.as<float>(), std::vector<float>{1e-4F * (1.0F / 448.0F)});
  EXPECT_EQ(plain.row.as<std::uint8_t>(), std::vector<std::uint8_t>(128, 0));
  const Encoded negative = encode_values(Codec::fp8_e4m3, std::vector<float>(128, -0.0F));
  EXPECT_EQ(negative.row.as<std::uint8_t>(), std::vector<std::uint8_t>(128, 0x80));
  // 1e-4/448 = 2.23e-7 lies between 2^-23 and 2^-22.
  const Encoded power = encode_values(Codec::fp8_e4m3_ue8m0, std::vector<float>(128, 0.0F));
  EXPECT_EQ(power.scales.as<std::uint8_t>(), std::vector<std::uint8_t>{127 - 22});
}

TEST_P(EncodeTest, NanIsIgnoredByTheScaleAndWrittenAs7F) {
  std::vector<float> values(128, 1.0F);
  values[3] = kNan;
  values[77] = -kNan;
  values[100] = -7.0F;
  const Encoded plain = encode_values(Codec::fp8_e4m3, values);
  EXPECT_EQ(plain.scales.as<float>(), std::vector<float>{7.0F * (1.0F / 448.0F)});
  std::vector<std::uint8_t> expected(128, float_to_e4m3(64.0F));
  expected[3] = expected[77] = 0x7F;
  expected[100] = 0xFE;
  EXPECT_EQ(plain.row.as<std::uint8_t>(), expected);
  const Encoded all = encode_values(Codec::fp8_e4m3, std::vector<float>(136, kNan));
  EXPECT_EQ(all.scales.as<float>(), std::vector<float>(2, 1e-4F * (1.0F / 448.0F)));
  EXPECT_EQ(all.row.as<std::uint8_t>(), std::vector<std::uint8_t>(136, 0x7F));
}

TEST_P(EncodeTest, InfinityFollowsTheFormula) {
  std::vector<float> values(128, 3.0F);
  values[1] = -3.0F;
  values[5] = kInfinity;
  values[6] = -kInfinity;
  values[7] = 3e38F;
  const Encoded plain = encode_values(Codec::fp8_e4m3, values);
  EXPECT_EQ(plain.scales.as<float>(), std::vector<float>{kInfinity});
  std::vector<std::uint8_t> expected(128, 0x00);
  expected[1] = 0x80;
  expected[5] = expected[6] = 0x7F;  // Inf * 0
  EXPECT_EQ(plain.row.as<std::uint8_t>(), expected);

  const Encoded power = encode_values(Codec::fp8_e4m3_ue8m0, values);
  EXPECT_EQ(power.scales.as<std::uint8_t>(), std::vector<std::uint8_t>{254});
  expected[5] = 0x7E;
  expected[6] = 0xFE;
  expected[7] = float_to_e4m3(std::ldexp(3e38F, -127));
  EXPECT_EQ(power.row.as<std::uint8_t>(), expected);
}

TEST_P(EncodeTest, ShortLastBlockHasItsOwnScale) {
  std::vector<float> values(152, 448.0F);
  std::fill(values.begin() + 128, values.end(), 7.0F);
  const Encoded out = encode_values(Codec::fp8_e4m3, values);
  EXPECT_EQ(out.scales.as<float>(), (std::vector<float>{448.0F * (1.0F / 448.0F), 7.0F * (1.0F / 448.0F)}));
  EXPECT_EQ(out.row.as<std::uint8_t>(), std::vector<std::uint8_t>(152, 0x7E));
}

// fl(448/amax) * amax may exceed 448 by a rounding; the code must still be that of 448.
TEST_P(EncodeTest, LargestElementOfABlockIsAlways448) {
  for (std::uint32_t word = 0x38D1B718; word < 0x7F000000; word += 0x00123457) {
    std::vector<float> values(128, 0.0F);
    values[64] = -float_from_bits(word);
    const Encoded out = encode_values(Codec::fp8_e4m3, values);
    ASSERT_EQ(out.row.as<std::uint8_t>()[64], 0xFE) << "amax " << -values[64];
  }
}

TEST_P(EncodeTest, PowerOfTwoScaleIsTheSmallestThatFits) {
  for (int exponent = -20; exponent <= 110; exponent += 5) {
    for (const float factor : {1.0F, 1.0001F, 1.5F, 1.9999F}) {
      const float amax = std::ldexp(448.0F * factor, exponent);
      const Encoded out = encode_values(Codec::fp8_e4m3_ue8m0, std::vector<float>(8, amax));
      const int expected = factor > 1.0F ? exponent + 1 : exponent;
      EXPECT_EQ(static_cast<int>(out.scales.as<std::uint8_t>()[0]) - 127, expected) << "amax " << amax;
      EXPECT_EQ(out.row.as<std::uint8_t>()[0], float_to_e4m3(std::ldexp(amax, -expected)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, EncodeTest, testing::ValuesIn(kLevels), level_name);

TEST(Encoder, IsTheBestLevels) {
  const Implementation& best = implementation(best_level());
  for (const Codec codec : kCodecs) {
    for (const DType type : kFloatTypes) {
      EXPECT_EQ(encoder(codec, type), best.encode[index(codec)][index(type)]);
      EXPECT_EQ(decoder(codec, type), best.decode[index(codec)][index(type)]);
    }
  }
}

TEST(Encoder, RefusesOtherTypesByName) {
  for (const DType type : {DType::fp8_e4m3, DType::uint8, DType::int32, DType::int64}) {
    try {
      static_cast<void>(encoder(Codec::bf16, type));
      FAIL() << "accepted " << railyard::name(type);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      EXPECT_NE(std::string(error.what()).find(railyard::name(type)), std::string::npos) << error.what();
    }
    EXPECT_THROW(static_cast<void>(decoder(Codec::fp8_e4m3, type)), Error);
  }
}

TEST(Implementation, LevelsAboveTheBestAreRefusedByName) {
  EXPECT_TRUE(supported(Level::scalar));
  for (const Level level : kLevels) {
    if (supported(level)) {
      EXPECT_NO_THROW(static_cast<void>(implementation(level)));
    } else {
      EXPECT_THROW(static_cast<void>(implementation(level)), Error);
    }
  }
}

}  // namespace
}  // namespace railyard::codecs
