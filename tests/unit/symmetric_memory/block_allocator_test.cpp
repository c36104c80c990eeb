// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/block_allocator.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace railyard::symmetric_memory {
namespace {

constexpr std::size_t kStep = BlockAllocator::kGranularity;

TEST(BlockAllocator, RoundsUpAndCountsFreeBytes) {
  BlockAllocator blocks;
  blocks.grow(10 * kStep + 7);
  EXPECT_EQ(blocks.end(), 10 * kStep);
  EXPECT_EQ(blocks.allocate(1), 0U);
  EXPECT_EQ(blocks.allocate(kStep + 1), kStep);
  EXPECT_EQ(blocks.free_bytes(), 7 * kStep);
}

TEST(BlockAllocator, RefusesWhatNoRangeHolds) {
  BlockAllocator blocks;
  blocks.grow(3 * kStep);
  const auto first = blocks.allocate(kStep);
  const auto second = blocks.allocate(kStep);
  ASSERT_TRUE(first && second);
  blocks.release(*first, kStep);
  EXPECT_EQ(blocks.free_bytes(), 2 * kStep);
  EXPECT_EQ(blocks.largest_free_range(), kStep);
  EXPECT_FALSE(blocks.allocate(2 * kStep));
}

TEST(BlockAllocator, TakesTheSmallestRangeThatFits) {
  BlockAllocator blocks;
  blocks.grow(10 * kStep);
  const auto large = blocks.allocate(4 * kStep);
  static_cast<void>(blocks.allocate(kStep));
  const auto small = blocks.allocate(2 * kStep);
  static_cast<void>(blocks.allocate(3 * kStep));
  blocks.release(*large, 4 * kStep);
  blocks.release(*small, 2 * kStep);
  EXPECT_EQ(blocks.allocate(2 * kStep), *small);
  EXPECT_EQ(blocks.allocate(2 * kStep), *large);
}

TEST(BlockAllocator, GrowthJoinsTheFreeEnd) {
  BlockAllocator blocks;
  blocks.grow(2 * kStep);
  blocks.grow(2 * kStep);
  EXPECT_EQ(blocks.allocate(4 * kStep), 0U);
}

TEST(BlockAllocator, RandomUseNeverOverlapsAndComesBackWhole) {
  std::mt19937 random(20261122);
  BlockAllocator blocks;
  const std::size_t total = 256 * kStep;
  blocks.grow(total);
  std::map<std::size_t, std::size_t> live;  // offset -> bytes
  for (int step = 0; step < 20000; ++step) {
    if (live.empty() || random() % 2 == 0) {
      const std::size_t bytes = 1 + random() % (20 * kStep);
      const auto offset = blocks.allocate(bytes);
      if (!offset) {
        EXPECT_LT(blocks.largest_free_range(), bytes);
        continue;
      }
      const std::size_t end = *offset + BlockAllocator::round_up(bytes);
      const auto next = live.lower_bound(*offset);
      ASSERT_TRUE(next == live.end() || end <= next->first);
      ASSERT_TRUE(next == live.begin() ||
                  std::prev(next)->first + BlockAllocator::round_up(std::prev(next)->second) <= *offset);
      live[*offset] = bytes;
    } else {
      auto victim = live.begin();
      std::advance(victim, static_cast<long>(random() % live.size()));
      blocks.release(victim->first, victim->second);
      live.erase(victim);
    }
  }
  for (const auto& [offset, bytes] : live) blocks.release(offset, bytes);
  EXPECT_EQ(blocks.largest_free_range(), total);
}

}  // namespace
}  // namespace railyard::symmetric_memory
