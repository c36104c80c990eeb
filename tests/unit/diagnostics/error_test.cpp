// SPDX-License-Identifier: Apache-2.0
#include <railyard/error.hpp>
#include <railyard/types.hpp>

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace railyard {
namespace {

TEST(Error, StartsWithItsCode) {
  const Error error(ErrorCode::timeout, "rank 3 is late");
  EXPECT_STREQ(error.what(), "RY-TIMEOUT: rank 3 is late");
  EXPECT_EQ(error.code(), ErrorCode::timeout);
}

TEST(Error, CodesHaveDistinctNames) {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::rank_failed); ++code) {
    names.insert(std::string(code_name(static_cast<ErrorCode>(code))));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(ErrorCode::rank_failed) + 1);
  EXPECT_FALSE(names.contains(std::string(code_name(static_cast<ErrorCode>(255)))));
}

TEST(Status, SaysValueAndLimit) {
  const Status capacity{.code = ErrorCode::capacity, .rank = 2, .needed = 130, .capacity = 128, .count = 5};
  EXPECT_EQ(capacity.message(), "rank 2 needs 130 rows and its capacity is 128; 5 rows were not written");
  const Status slots{.code = ErrorCode::capacity, .rank = 2, .expert = 7, .needed = 9, .capacity = 8, .count = 1};
  EXPECT_EQ(slots.message(), "local expert 7 of rank 2 needs 9 rows and its capacity is 8; 1 rows were not written");
  const Status ids{.code = ErrorCode::invalid_id, .rank = 1, .needed = 300, .capacity = 256, .count = 2};
  EXPECT_EQ(ids.message(), "2 expert ids outside [-1, 256) were taken as -1, the first is 300 at rank 1");
  EXPECT_TRUE(Status{}.ok());
}

TEST(Types, SizesAndCodecsAgree) {
  EXPECT_EQ(size_of(DType::bf16), 2U);
  EXPECT_EQ(size_of(DType::int64), 8U);
  EXPECT_EQ(element_type(Codec::fp8_e4m3_ue8m0), DType::fp8_e4m3);
  EXPECT_EQ(scale_type(Codec::fp8_e4m3), DType::fp32);
  EXPECT_EQ(scale_type(Codec::fp8_e4m3_ue8m0), DType::uint8);
  EXPECT_EQ(block_size(Codec::fp8_e4m3), 128);
  EXPECT_EQ(block_size(Codec::bf16), 0);
}

}  // namespace
}  // namespace railyard
