// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/together.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

namespace railyard::cli::bench {
namespace {

/// Where a process has a file open.
struct OpenFile {
  pid_t process = 0;
  int descriptor = -1;
};

void* map(int file, std::size_t bytes) {
  void* const data = file < 0 ? MAP_FAILED : ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::out_of_memory,
                diagnostics::format("memory for all ranks cannot be had: {}", std::strerror(errno)));
  }
  return data;
}

}  // namespace

SharedMemory::SharedMemory(World& world, std::size_t bytes) : bytes_(bytes), data_(nullptr) {
  const int file = ::memfd_create("railyard-bench", MFD_CLOEXEC);
  const bool sized = file >= 0 && ::ftruncate(file, static_cast<off_t>(bytes)) == 0;
  data_ = map(sized ? file : -1, bytes);
  world.run([&](Rank& rank) {
    const OpenFile mine{::getpid(), file};
    std::vector<OpenFile> all(static_cast<std::size_t>(rank.world_size()));
    rank.all_gather(&mine, all.data(), sizeof(mine));
    if (all.front().process != mine.process) {
      const std::string path = diagnostics::format("/proc/{}/fd/{}", all.front().process, all.front().descriptor);
      const int theirs = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
      ::munmap(data_, bytes_);
      data_ = map(theirs, bytes_);
      ::close(theirs);
    }
    rank.barrier();  // rank 0 keeps its file open until all have it
  });
  ::close(file);
}

SharedMemory::~SharedMemory() { ::munmap(data_, bytes_); }

void gather_by_rank(World& world, void* table, std::size_t bytes) {
  auto* const blocks = static_cast<std::byte*>(table);
  std::vector<std::byte> all;
  std::once_flag first;
  world.run([&](Rank& rank) {
    std::vector<std::byte> gathered(static_cast<std::size_t>(rank.world_size()) * bytes);
    rank.all_gather(blocks + static_cast<std::size_t>(rank.index()) * bytes, gathered.data(), bytes);
    std::call_once(first, [&] { all = std::move(gathered); });
  });
  std::copy(all.begin(), all.end(), blocks);
}

bool holds_everywhere(World& world, bool holds_here) {
  std::vector<char> everywhere(static_cast<std::size_t>(world.size()), holds_here ? 1 : 0);
  gather_by_rank(world, everywhere);
  return std::find(everywhere.begin(), everywhere.end(), 0) == everywhere.end();
}

}  // namespace railyard::cli::bench
