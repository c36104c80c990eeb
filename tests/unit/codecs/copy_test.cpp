// SPDX-License-Identifier: Apache-2.0
#include "codecs/copy.hpp"

#include "guarded_row.hpp"
#include "inputs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
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
  for (const Stores stores : {Stores::ordinary, Stores::streaming}) {
    for (const std::size_t bytes : {1U, 16U, 63U, 64U, 65U, 511U, 512U, 575U, 1000U, 5760U, 14336U}) {
      for (const std::size_t misalignment : {0U, 1U, 16U, 63U}) {
        SCOPED_TRACE(testing::Message() << "stores " << index(stores) << ", bytes " << bytes << ", misaligned by "
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
        table().copy[index(stores)](pointers.data(), static_cast<int>(pointers.size()), source.data(), bytes);
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
  void* pointer = destination.data();
  for (const Stores stores : {Stores::ordinary, Stores::streaming}) {
    table().copy[index(stores)](nullptr, 0, source.data(), 1024);
    table().copy[index(stores)](&pointer, 1, source.data(), 0);
    EXPECT_TRUE(std::ranges::all_of(destination.bytes(), [](std::byte byte) { return byte == GuardedRow::kPoison; }));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, CopyTest, testing::ValuesIn(kLevels), level_name);

TEST(Copy, CopiesWithBothKindsOfStores) {
  const GuardedRow source(random_bytes(14336));
  for (const Stores stores : {Stores::ordinary, Stores::streaming}) {
    GuardedRow first(14336);
    GuardedRow second(14336, 16);
    void* destinations[]{first.data(), second.data()};
    copy_row_to(destinations, 2, source.data(), 14336, stores);
    store_fence();
    EXPECT_TRUE(std::ranges::equal(first.bytes(), source.bytes()));
    EXPECT_TRUE(std::ranges::equal(second.bytes(), source.bytes()));
  }
}

}  // namespace
}  // namespace railyard::codecs
