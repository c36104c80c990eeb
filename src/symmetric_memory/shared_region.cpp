// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/shared_region.hpp"

#include "diagnostics/format.hpp"
#include "diagnostics/resource_limit.hpp"
#include "symmetric_memory/available_memory.hpp"

#include <railyard/error.hpp>

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>
#include <utility>

namespace railyard::symmetric_memory {
namespace {

bootstrap::FileDescriptor make_file() {
  bootstrap::FileDescriptor file(::memfd_create("railyard-heap", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid() || ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0) {
    throw Error(ErrorCode::out_of_memory,
                diagnostics::format("the system refused a file in memory (memfd) for a heap: {}",
                                    diagnostics::error_and_limit(errno)));
  }
  return file;
}

// Zero, or errno. Signals wait until the step is done: many kernels undo all of it for one, and those of a profiler
// would never let it end.
int take_pages(int file, std::size_t begin, std::size_t bytes) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  do {
    error = ::fallocate(file, 0, static_cast<off_t>(begin), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  } while (error == EINTR);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace

SharedMapping::SharedMapping(int descriptor, std::size_t bytes) : bytes_(bytes) {
  void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (address == MAP_FAILED) {
    throw Error(ErrorCode::out_of_memory,
                diagnostics::format("cannot map {} bytes of a heap: {}", bytes, diagnostics::error_and_limit(errno)));
  }
  base_ = static_cast<std::byte*>(address);
}

SharedMapping::~SharedMapping() { ::munmap(base_, bytes_); }

SharedRegion::SharedRegion(std::size_t limit, std::function<std::size_t()> available)
    : file_(make_file()), mapping_(file_.get(), limit), available_(std::move(available)) {
  if (!available_) available_ = [] { return available_memory(); };
}

void SharedRegion::commit(std::size_t bytes) {
  bytes = std::min(bytes, limit());
  const std::size_t wanted = bytes - std::min(committed_, bytes);
  const auto refuse = [&](std::string_view reason, std::size_t available) {
    throw Error(
        ErrorCode::out_of_memory,
        diagnostics::format("the system refused {} bytes for a heap of {}: {}; {} bytes are available, of which {} "
                            "stay free for others",
                            wanted, bytes, reason, available, std::min(available, kMargin)));
  };
  if (wanted == 0) return;
  const std::size_t at_first = available_();
  if (const std::size_t largest = diagnostics::largest_file(); bytes > largest) {
    refuse(diagnostics::format("files may have {} bytes (ulimit -f)", largest), at_first);
  }
  if (wanted > at_first - std::min(at_first, kMargin)) refuse("not enough memory", at_first);
  for (std::size_t begin = committed_; begin < bytes;) {
    // Other processes take memory too, other ranks' at the same time.
    const std::size_t available = available_();
    const std::size_t step = next_step(bytes - begin, available);
    if (const int error = step == 0 ? ENOMEM : take_pages(file_.get(), begin, step); error != 0) {
      const std::size_t taken = begin - committed_;
      ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(committed_),
                  static_cast<off_t>(taken));
      // What was available beside them: looked at now, it would have them again.
      refuse(diagnostics::format("{} after {} of them", step == 0 ? "not enough memory" : std::strerror(error), taken),
             available);
    }
    begin += step;
  }
  committed_ = std::max(committed_, bytes);
}

std::vector<SharedPart> SharedRegion::share() const {
  bootstrap::FileDescriptor file(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
  if (!file.valid()) {
    throw Error(ErrorCode::out_of_memory, diagnostics::format("cannot hand out a heap of {} bytes: {}", limit(),
                                                              diagnostics::error_and_limit(errno)));
  }
  std::vector<SharedPart> parts;
  parts.push_back({.offset = 0, .bytes = limit(), .handle = std::move(file)});
  return parts;
}

}  // namespace railyard::symmetric_memory
