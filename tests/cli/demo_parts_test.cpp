// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/layer.hpp"
#include "cli/demo/text.hpp"
#include "cli/exit_status.hpp"
#include "codecs/element.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

namespace railyard::cli::demo {
namespace {

TEST(Deal, GivesEveryByteOnceInOrder) {
  for (const std::size_t bytes : {1U, 7U, 48U, 49U, 1000U}) {
    const auto steps = deal(bytes, 4, 6, 0);
    std::size_t next = 0;
    for (const std::vector<Slice>& shares : steps) {
      ASSERT_EQ(shares.size(), 4U);
      for (const Slice share : shares) {
        EXPECT_EQ(share.first, next);
        EXPECT_LE(share.count, 6U);
        next += share.count;
      }
    }
    EXPECT_EQ(next, bytes);
    EXPECT_EQ(steps.size(), (bytes + 23) / 24);
  }
}

TEST(Deal, StopsAfterTheStepsAskedFor) {
  EXPECT_EQ(deal(1000, 4, 6, 3).size(), 3U);
  EXPECT_EQ(deal(10, 4, 6, 3).size(), 1U);
}

TEST(ReadText, BuiltInIsNotEmptyAndAMissingFileIsNamed) {
  EXPECT_GT(read_text("").size(), 4000U);
  try {
    (void)read_text("/no/such/file");
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("/no/such/file"), std::string::npos);
  }
}

LayerShape small_shape(std::uint64_t seed) {
  LayerShape shape{.hidden = 24, .intermediate = 20, .experts = 3, .gate = {.top_k = 2}, .seed = seed};
  return shape;
}

TEST(Layer, RowsDependOnThreeBytesAndThePosition) {
  const Layer layer(small_shape(1));
  const auto row = [&](std::string_view text, std::size_t position) {
    std::vector<std::uint16_t> result(24);
    layer.embed(text, position, result);
    return result;
  };
  EXPECT_EQ(row("abcdef", 4), row("__cdex", 4));
  EXPECT_NE(row("abcdef", 4), row("ab_def", 4));
  EXPECT_NE(row("aaaaaa", 3), row("aaaaaa", 4));
  EXPECT_NE(row("a", 0), row("b", 0));
}

TEST(Layer, ExpertsAreDeterministicDifferentAndFinite) {
  const Layer layer(small_shape(1));
  const Layer again(small_shape(1));
  const Layer other(small_shape(2));
  std::vector<float> x(24);
  std::iota(x.begin(), x.end(), -11.5F);
  const auto output = [&](const Layer& from, int expert) {
    std::vector<std::uint16_t> result(24);
    from.expert(expert, x, result);
    return result;
  };
  EXPECT_EQ(output(layer, 1), output(again, 1));
  EXPECT_NE(output(layer, 1), output(layer, 2));
  EXPECT_NE(output(layer, 1), output(other, 1));
  float magnitude = 0.0F;
  for (const std::uint16_t code : output(layer, 0)) {
    EXPECT_TRUE(std::isfinite(codecs::bf16_to_float(code)));
    magnitude += std::abs(codecs::bf16_to_float(code));
  }
  EXPECT_GT(magnitude, 0.1F);
}

}  // namespace
}  // namespace railyard::cli::demo
