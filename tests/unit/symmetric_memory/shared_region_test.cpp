// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/shared_region.hpp"
#include "symmetric_memory/available_memory.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace railyard::symmetric_memory {
namespace {

constexpr std::size_t kMegabyte = std::size_t{1} << 20;
constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

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
  const std::size_t wanted = available_memory() + (std::size_t{64} << 30);  // ThreadSanitizer maps no more than 1.5 TiB
  SharedRegion region(wanted);
  region.commit(kMegabyte);
  region.base()[0] = std::byte{9};
  try {
    region.commit(wanted);
    FAIL() << "more than there is was granted";
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

// A group of 100 MiB, of which another rank takes 30 as soon as this one has some.
TEST(SharedRegion, WhatWasTakenAndWhatIsLeftAddUp) {
  constexpr std::size_t kGroup = 100 * kMegabyte;
  constexpr std::size_t kOther = 30 * kMegabyte;
  constexpr std::size_t kWanted = 60 * kMegabyte;
  int file = -1;
  SharedRegion region(kWanted, [&file] {
    struct stat facts {};
    const auto taken = ::fstat(file, &facts) == 0 ? static_cast<std::size_t>(facts.st_blocks) * 512 : 0;
    return kGroup - taken - (taken > 8 * kMegabyte ? kOther : 0);
  });
  file = region.descriptor();
  region.commit(kMegabyte);
  try {
    region.commit(kWanted);
    FAIL() << "more than there is was granted";
  } catch (const Error& error) {
    std::size_t wanted = 0;
    std::size_t heap = 0;
    std::size_t taken = 0;
    std::size_t available = 0;
    std::size_t margin = 0;
    ASSERT_EQ(std::sscanf(error.what(),
                          "RY-OUT-OF-MEMORY: the system refused %zu bytes for a heap of %zu: not enough memory after "
                          "%zu of them; %zu bytes are available, of which %zu stay free for others",
                          &wanted, &heap, &taken, &available, &margin),
              5)
        << error.what();
    EXPECT_EQ(wanted, kWanted - kMegabyte);
    EXPECT_EQ(heap, kWanted);
    EXPECT_EQ(kMegabyte + taken + kOther + available, kGroup) << error.what();
    EXPECT_LT(available - margin, wanted - taken) << error.what();
  }
  struct stat facts {};
  ASSERT_EQ(::fstat(file, &facts), 0);
  EXPECT_EQ(static_cast<std::size_t>(facts.st_blocks) * 512, kMegabyte) << "it is given back";
}

TEST(SharedRegion, AddressSpaceThatIsNotThereIsRefused) { EXPECT_THROW(SharedRegion(std::size_t{1} << 60), Error); }

TEST(SharedRegion, ALimitOfFilesIsAnErrorNotASignal) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit one{.rlim_cur = kMegabyte, .rlim_max = kMegabyte};
    ::setrlimit(RLIMIT_FSIZE, &one);
    SharedRegion region(2 * kMegabyte);
    region.commit(kMegabyte);
    try {
      region.commit(2 * kMegabyte);
    } catch (const Error& error) {
      ::_exit(std::string(error.what()).find("files may have 1048576 bytes (ulimit -f)") == std::string::npos ? 2 : 0);
    }
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

#if !defined(RAILYARD_SANITIZED)  // which need address space of their own
TEST(SharedRegion, ALimitOfAddressSpaceIsNamed) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const std::size_t bytes = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + 64 * kMegabyte;
    const rlimit little{.rlim_cur = bytes, .rlim_max = bytes};
    ::setrlimit(RLIMIT_AS, &little);
    try {
      const SharedRegion region(1024 * kMegabyte);
    } catch (const Error& error) {
      const std::string expected =
          "RY-OUT-OF-MEMORY: cannot map 1073741824 bytes of a heap: Cannot allocate memory; this process may map " +
          std::to_string(bytes) + " bytes (RLIMIT_AS, ulimit -v)";
      ::_exit(error.what() == expected ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}
#endif

TEST(AvailableMemory, IsThatOfThisMachine) {
  EXPECT_GT(available_memory(), kMegabyte);
  EXPECT_LT(available_memory(), kUnlimited) << "neither /proc/meminfo nor a control group was read";
}

/// A machine of files, in a folder of its own.
class AvailableMemoryOf : public ::testing::Test {
 protected:
  AvailableMemoryOf() { write("proc/meminfo", "MemTotal: 99 kB\nMemAvailable:      1024 kB\n"); }
  ~AvailableMemoryOf() override { std::filesystem::remove_all(root_); }

  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  [[nodiscard]] std::size_t available() const { return available_memory(root_); }

  const std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("railyard-machine-" + std::to_string(::getpid()));
};

TEST_F(AvailableMemoryOf, NoControlGroup) { EXPECT_EQ(available(), kMegabyte); }

TEST_F(AvailableMemoryOf, TheTightestGroupAboveCounts) {
  write("proc/self/cgroup", "0::/job/step with: a colon\n");
  write("sys/fs/cgroup/job/step with: a colon/memory.max", "max\n");
  write("sys/fs/cgroup/job/step with: a colon/memory.current", "500\n");
  EXPECT_EQ(available(), kMegabyte);
  write("sys/fs/cgroup/job/memory.max", "10000\n");
  write("sys/fs/cgroup/job/memory.current", "9000\n");
  EXPECT_EQ(available(), 1000U);
  write("sys/fs/cgroup/job/memory.stat", "file 8000\nactive_file 1000\ninactive_file 3000\n");
  EXPECT_EQ(available(), 4000U) << "files that nobody uses are free";
  write("sys/fs/cgroup/job/memory.stat", "inactive_file 99999\n");
  EXPECT_EQ(available(), 10000U);
  write("sys/fs/cgroup/memory.max", "7\n");  // of a namespace's root
  write("sys/fs/cgroup/memory.current", "9\n");
  EXPECT_EQ(available(), 0U) << "above its limit";
}

TEST_F(AvailableMemoryOf, VersionOneBesideVersionTwo) {
  write("proc/self/cgroup", "5:cpu,memory:/job\n4:memoryless:/\n1:name=systemd:/x\n0::/y\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "123\n");
  EXPECT_EQ(available(), kMegabyte);
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "5000\n");
  write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "4500\n");
  write("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
  EXPECT_EQ(available(), 1000U);
}

// All look, then all take: the worst that can happen.
TEST_F(AvailableMemoryOf, RanksThatTakeMemoryAtOnceDoNotOverrunTheGroup) {
  constexpr std::size_t kLimit = 1024 * kMegabyte;
  write("proc/meminfo", "MemAvailable: 99999999 kB\n");
  write("proc/self/cgroup", "0::/job\n");
  write("sys/fs/cgroup/job/memory.max", std::to_string(kLimit));
  for (const std::size_t ranks : {std::size_t{8}, kMostTakers}) {
    std::size_t used = 0;
    for (bool any = true; any;) {
      write("sys/fs/cgroup/job/memory.current", std::to_string(used));
      const std::size_t free = available();
      any = false;
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        const std::size_t step = next_step(10 * kLimit, free);
        any = any || step > 0;
        used += step;
      }
      ASSERT_LE(used, kLimit) << ranks << " ranks";
    }
    EXPECT_GT(used, kLimit - 2 * kMargin) << "what is there is used: " << ranks << " ranks";
  }
}

TEST(NextStep, IsAShareOfWhatIsThere) {
  EXPECT_EQ(next_step(100, 1000 * kMegabyte), 100U) << "no more than wanted";
  EXPECT_EQ(next_step(1000 * kMegabyte, kUnlimited), 64 * kMegabyte);
  EXPECT_EQ(next_step(1000 * kMegabyte, 128 * kMegabyte), kMegabyte);
  EXPECT_EQ(next_step(1, kMargin), 1U);
  EXPECT_EQ(next_step(1, kMargin - 1), 0U);
  EXPECT_EQ(next_step(1, 0), 0U);
}

TEST_F(AvailableMemoryOf, WhatCannotBeReadDoesNotLimit) {
  write("proc/self/cgroup", "nonsense\n:\n::\n0::\n0::/../../elsewhere\n0::/gone (deleted)\n3:memory:\n");
  write("sys/fs/cgroup/memory.max", "99999999999999999999999999\n");
  write("sys/fs/cgroup/memory.current", "5\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "-1\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
  EXPECT_EQ(available(), kMegabyte);
  write("sys/fs/cgroup/memory.max", "100\n");
  write("sys/fs/cgroup/memory.stat", "inactive_file 99999999999999999999999999\n");
  EXPECT_EQ(available(), 95U);
}

}  // namespace
}  // namespace railyard::symmetric_memory
