// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/shared_region.hpp"
#include "symmetric_memory/available_memory.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

namespace railyard::symmetric_memory {
namespace {

constexpr std::size_t kMegabyte = std::size_t{1} << 20;

TEST(SharedRegion, WhatOneProcessWritesAnotherReads) {
  SharedRegion region(4 * kMegabyte);
  region.commit(kMegabyte + 100);
  EXPECT_EQ(region.limit(), 4 * kMegabyte);
  for (std::size_t i = 0; i < kMegabyte + 100; i += 4096) ASSERT_EQ(region.base()[i], std::byte{0});
  const pid_t child = ::fork();
  if (child == 0) {
    const SharedMapping mapping(region.descriptor(), 4 * kMegabyte);
    std::memset(mapping.base(), 7, kMegabyte + 100);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(region.base()[kMegabyte + 99], std::byte{7});
  region.commit(3 * kMegabyte);
  EXPECT_EQ(region.base()[kMegabyte + 99], std::byte{7}) << "growing keeps what is there";
  EXPECT_EQ(region.base()[3 * kMegabyte - 1], std::byte{0});
  region.commit(1);  // never shrinks
  EXPECT_EQ(region.base()[kMegabyte], std::byte{7});
}

TEST(SharedRegion, NobodyCanTakeItsBytesAway) {
  SharedRegion region(kMegabyte);
  region.commit(kMegabyte);
  EXPECT_EQ(::ftruncate(region.descriptor(), 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST(SharedRegion, MoreThanThereIsIsRefusedWithBothNumbers) {
  const std::size_t wanted = available_memory() + (std::size_t{1} << 40);
  SharedRegion region(wanted);
  region.commit(kMegabyte);
  region.base()[0] = std::byte{9};
  try {
    region.commit(wanted);
    FAIL() << "a terabyte more than there is was granted";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_NE(text.find(std::to_string(wanted - kMegabyte) + " bytes for a heap"), std::string::npos) << text;
    EXPECT_NE(text.find("bytes are available"), std::string::npos) << text;
  }
  EXPECT_EQ(region.base()[0], std::byte{9});
  region.commit(2 * kMegabyte);
  EXPECT_EQ(region.base()[2 * kMegabyte - 1], std::byte{0}) << "a refusal changes nothing";
}

TEST(SharedRegion, AddressSpaceThatIsNotThereIsRefused) { EXPECT_THROW(SharedRegion(std::size_t{1} << 60), Error); }

TEST(AvailableMemory, IsSomethingAndFollowsWhatIsTaken) {
  const std::size_t before = available_memory();
  EXPECT_GT(before, kMegabyte);
  EXPECT_LT(before, std::numeric_limits<std::size_t>::max()) << "neither /proc/meminfo nor a control group was read";
}

}  // namespace
}  // namespace railyard::symmetric_memory
