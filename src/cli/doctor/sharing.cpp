// SPDX-License-Identifier: Apache-2.0
// What processes of one machine share: memory and descriptors.
#include "bootstrap/descriptor_exchange.hpp"
#include "bootstrap/launch_environment.hpp"
#include "bootstrap/thread_bootstrap.hpp"
#include "cli/doctor/checks.hpp"
#include "diagnostics/format.hpp"
#include "diagnostics/resource_limit.hpp"

#include <railyard/error.hpp>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <future>
#include <span>
#include <system_error>

namespace railyard::cli::doctor {
namespace {

using bootstrap::FileDescriptor;
using diagnostics::format;

constexpr double kMiB = 1024.0 * 1024.0;
constexpr double kLittleSharedMemory = 1024 * kMiB;
constexpr std::size_t kSharedBytes = std::size_t{1} << 20;
constexpr auto kExchangeTimeout = std::chrono::seconds(5);
constexpr int kAssumedRanks = 8;  // where no launcher says how many: a machine with eight GPUs

// What rank 0 of processes on one machine has open at most: a connection to each rank, a descriptor of each rank's
// memory, and, while those are handed over, a socket for each; and what does not grow with the world.
constexpr int kFilesPerRank = 3;
constexpr int kFilesBeside = 16;

[[noreturn]] void throw_errno(const char* call) { throw std::system_error(errno, std::generic_category(), call); }

/// Memory of a descriptor, as long as this lives.
class Mapping {
 public:
  Mapping(int descriptor, std::size_t bytes)
      : bytes_(bytes), data_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)) {
    if (data_ == MAP_FAILED) {
      throw_errno("mmap of a memfd");
    }
  }
  ~Mapping() { ::munmap(data_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] std::span<unsigned char> bytes() const { return {static_cast<unsigned char*>(data_), bytes_}; }
  void fill(unsigned char value) const { std::memset(data_, value, bytes_); }
  [[nodiscard]] bool holds(unsigned char value) const {
    return std::ranges::all_of(bytes(), [value](unsigned char byte) { return byte == value; });
  }

 private:
  std::size_t bytes_;
  void* data_;
};

int ranks_of_job() {
  try {
    return bootstrap::read_launch_environment(external_rendezvous()).size;
  } catch (const Error&) {  // no launcher, or another finding says what is wrong with it
    return kAssumedRanks;
  }
}

}  // namespace

Findings check_shared_memory() {
  Finding finding{.check = "shared_memory"};
  struct statvfs space {};
  if (::statvfs("/dev/shm", &space) != 0) {
    finding.found = format("no /dev/shm: {}", std::generic_category().message(errno));
  } else {
    const double size = static_cast<double>(space.f_blocks) * static_cast<double>(space.f_frsize);
    const double free = static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize);
    finding.found = format("/dev/shm: {:.0f} MiB, {:.0f} MiB free", size / kMiB, free / kMiB);
    finding.numbers = {{"size_bytes", size}, {"free_bytes", free}};
    if (free >= kLittleSharedMemory) {
      return {finding};
    }
  }
  finding.state = State::note;
  finding.remedy =
      "Railyard needs none of it (it shares memory by memfd, which counts as the process's own); NCCL and "
      "PyTorch's loaders do: docker run --shm-size=8g";
  return {finding};
}

Findings check_memfd() {
  if (const std::size_t largest = diagnostics::largest_file(); largest < kSharedBytes) {
    return {{.check = "memfd",
             .state = State::problem,
             .found = format("files may have {} bytes (ulimit -f), and a memfd of {} is a file", largest, kSharedBytes),
             .remedy = "ulimit -f unlimited, for every process of the job: heaps that processes share are such files",
             .numbers = {{"limit", static_cast<double>(largest)}, {"bytes", static_cast<double>(kSharedBytes)}}}};
  }
  FileDescriptor memory(::memfd_create("railyard-doctor", MFD_CLOEXEC));
  if (!memory.valid()) {
    throw_errno("memfd_create");
  }
  if (::ftruncate(memory.get(), kSharedBytes) != 0) {
    throw_errno("ftruncate of a memfd");
  }
  constexpr unsigned char kQuestion = 0x5A;
  constexpr unsigned char kAnswer = 0xA5;
  const Mapping own(memory.get(), kSharedBytes);
  own.fill(kQuestion);

  const auto ends = bootstrap::make_thread_bootstraps(2);
  const auto exchange = [](bootstrap::Bootstrap& end, std::span<const int> mine) {
    return bootstrap::exchange_descriptors(end, mine, "handing over a memfd", kExchangeTimeout);
  };
  std::future<bool> peer = std::async(std::launch::async, [&] {
    const auto received = exchange(*ends[1], {});
    const Mapping theirs(received.front().front().get(), kSharedBytes);
    const bool asked = theirs.holds(kQuestion);
    theirs.fill(kAnswer);
    return asked;
  });
  const int descriptor = memory.get();
  static_cast<void>(exchange(*ends[0], {&descriptor, 1}));
  if (!peer.get() || !own.holds(kAnswer)) {
    throw Error(ErrorCode::unsupported, "what one end writes into a memfd, the other does not see");
  }
  return {
      {.check = "memfd",
       .found = format("{} bytes created, handed over a Unix socket, mapped and written by both ends", kSharedBytes),
       .numbers = {{"bytes", static_cast<double>(kSharedBytes)}}}};
}

Findings check_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    throw_errno("getrlimit");
  }
  const int ranks = ranks_of_job();
  const double needed = double{kFilesPerRank} * ranks + kFilesBeside;
  const auto soft = static_cast<double>(limit.rlim_cur);
  const auto hard = static_cast<double>(limit.rlim_max);
  Finding finding{.check = "open_files",
                  .found = format("{:.0f} files may be open, {:.0f} if raised; rank 0 of {} processes on one machine "
                                  "opens up to {:.0f}, beside the program's own",
                                  soft, hard, ranks, needed),
                  .numbers = {{"limit", soft}, {"hard_limit", hard}, {"ranks", ranks}, {"needed", needed}}};
  if (soft < needed) {
    finding.state = State::problem;
    finding.remedy = format("ulimit -n {:.0f} or more, for every process of the job{}", std::max(1024.0, needed),
                            hard < needed ? "; root, or who starts the container, raises the hard limit" : "");
  }
  return {finding};
}

}  // namespace railyard::cli::doctor
