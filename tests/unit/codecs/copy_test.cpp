// SPDX-License-Identifier: Apache-2.0
#include "codecs/copy.hpp"

#include "guarded_row.hpp"
#include "inputs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace railyard::codecs {
namespace {

std::vector<std::uint8_t> random_bytes(std::size_t bytes) {
  std::mt19937 generator(static_cast<std::uint32_t>(bytes));
  std::vector<std::uint8_t> values(bytes);
  std::generate(values.begin(), values.end(), [&] { return static_cast<std::uint8_t>(generator()); });
  return values;
}

class CopyTest : public LevelTest {};

TEST_P(CopyTest, EveryDestinationGetsTheRowAndNothingElse) {
  for (const std::size_t num_cached : {0U, 1U, 4U, 6U, 9U}) {
    for (const std::size_t bytes : {1U, 16U, 63U, 64U, 65U, 511U, 512U, 575U, 1000U, 5760U, 14336U}) {
      for (const std::size_t misalignment : {0U, 1U, 16U, 63U}) {
        SCOPED_TRACE(testing::Message() << num_cached << " of 9 cached, bytes " << bytes << ", misaligned by "
                                        << misalignment);
        const GuardedRow source(random_bytes(bytes), misalignment);
        std::vector<GuardedRow> destinations;
        for (const std::size_t shift : {0U, 0U, 1U, 2U, 2U, 2U, 3U, 4U, 4U}) {  // pairs that lie alike, and others
          destinations.emplace_back(bytes, shift * 7 * misalignment % 64);
        }
        std::vector<void*> pointers;
        for (GuardedRow& destination : destinations) {
          pointers.push_back(destination.data());
        }
        const std::span<void* const> all(pointers);
        table().copy({.cached = all.first(num_cached), .streamed = all.subspan(num_cached)}, source.data(), bytes);
        store_fence();
        for (const GuardedRow& destination : destinations) {
          ASSERT_TRUE(std::ranges::equal(destination.bytes(), source.bytes()));
          ASSERT_TRUE(destination.guards_intact());
        }
      }
    }
  }
}

TEST_P(CopyTest, NoDestinationsNoBytes) {
  const GuardedRow source(random_bytes(1024));
  GuardedRow destination(1024);
  void* const pointer = destination.data();
  const std::span<void* const> one(&pointer, 1);
  table().copy({}, source.data(), 1024);
  table().copy({.cached = one, .streamed = {}}, source.data(), 0);
  table().copy({.cached = {}, .streamed = one}, source.data(), 0);
  EXPECT_TRUE(std::ranges::all_of(destination.bytes(), [](std::byte byte) { return byte == GuardedRow::kPoison; }));
}

INSTANTIATE_TEST_SUITE_P(Levels, CopyTest, testing::ValuesIn(kLevels), level_name);

TEST(Copy, CopiesWithBothKindsOfStores) {
  const GuardedRow source(random_bytes(14336));
  GuardedRow first(14336);
  GuardedRow second(14336, 16);
  void* const cached = first.data();
  void* const streamed = second.data();
  copy_row_to({.cached = {&cached, 1}, .streamed = {&streamed, 1}}, source.data(), 14336);
  store_fence();
  EXPECT_TRUE(std::ranges::equal(first.bytes(), source.bytes()));
  EXPECT_TRUE(std::ranges::equal(second.bytes(), source.bytes()));
}

}  // namespace
}  // namespace railyard::codecs
