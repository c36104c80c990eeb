// SPDX-License-Identifier: Apache-2.0
#include "cli/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <stdexcept>

namespace railyard::cli {
namespace {

TEST(ParallelFor, CoversEverythingOnce) {
  for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
    std::atomic<std::int64_t> sum = 0;
    parallel_for(count, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) sum += i + 1;
    });
    EXPECT_EQ(sum, count * (count + 1) / 2);
  }
}

TEST(ParallelFor, WhatAnyPieceThrowsComesBack) {
  const auto fail_at = [](std::int64_t bad) {
    parallel_for(1000, [&](std::int64_t first, std::int64_t last) {
      if (first <= bad && bad < last) throw std::bad_alloc();
    });
  };
  EXPECT_THROW(fail_at(0), std::bad_alloc);
  EXPECT_THROW(fail_at(999), std::bad_alloc);
  EXPECT_THROW(parallel_for(1000, [](std::int64_t, std::int64_t) { throw std::runtime_error("all"); }),
               std::runtime_error);
}

}  // namespace
}  // namespace railyard::cli
