// SPDX-License-Identifier: Apache-2.0
// Every level encodes and decodes as the reference does, on any bits.
#include "codecs/row_format.hpp"
#include "reference/row_codec.hpp"

#include "guarded_row.hpp"
#include "inputs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace railyard::codecs {
namespace {

class ReferenceTest : public LevelTest {};

TEST_P(ReferenceTest, RowsAndScalesAreTheReferences) {
  std::uint32_t seed = 9000;
  for (const Codec codec : kCodecs) {
    for (const DType input : kFloatTypes) {
      for (const int hidden : {8, 24, 1000, 2880}) {
        for (const Content content : {Content::normal, Content::any_bits, Content::tiny}) {
          SCOPED_TRACE(testing::Message() << railyard::name(codec) << " from " << railyard::name(input) << ", hidden "
                                          << hidden << ", seed " << seed);
          const std::vector<std::byte> source = random_row(input, hidden, content, seed++);
          const reference::EncodedRow expected = reference::encode_row(codec, input, source.data(), hidden);
          const RowFormat format = RowFormat::of(codec, hidden);
          ASSERT_EQ(format.row_bytes, expected.row.size());
          ASSERT_EQ(format.scale_bytes, expected.scales.size());
          GuardedRow row(format.row_bytes);
          GuardedRow scales(format.scale_bytes);
          table().encode[index(codec)][index(input)](source.data(), row.data(), scales.data(), hidden);
          ASSERT_TRUE(std::ranges::equal(row.bytes(), expected.row));
          ASSERT_TRUE(std::ranges::equal(scales.bytes(), expected.scales));

          const std::vector<float> values =
              reference::decode_row(codec, expected.row.data(), expected.scales.data(), hidden);
          std::vector<float> decoded(static_cast<std::size_t>(hidden));
          table().decode[index(codec)][index(DType::fp32)](row.data(), scales.data(), decoded.data(), hidden);
          for (std::size_t i = 0; i < decoded.size(); ++i) {
            ASSERT_EQ(bits_of(canonical(decoded[i])), bits_of(canonical(values[i]))) << "element " << i;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, ReferenceTest, testing::ValuesIn(kLevels), level_name);

}  // namespace
}  // namespace railyard::codecs
