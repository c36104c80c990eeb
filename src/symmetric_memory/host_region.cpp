// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/host_region.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace railyard::symmetric_memory {
namespace {

std::size_t round_up_to_page(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

HostRegion::HostRegion(std::size_t limit) : limit_(limit) {
  void* address = ::mmap(nullptr, limit_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    throw Error(ErrorCode::out_of_memory, diagnostics::format("cannot reserve {} bytes of address space for a heap: {}",
                                                              limit_, std::strerror(errno)));
  }
  base_ = static_cast<std::byte*>(address);
}

HostRegion::~HostRegion() { ::munmap(base_, limit_); }

void HostRegion::commit(std::size_t bytes) {
  bytes = round_up_to_page(std::min(bytes, limit_));  // the next step starts at a page
  if (bytes <= committed_) return;
  // Remapping in place, rather than mprotect, asks the kernel to account for the pages, so that a budget beyond the
  // machine's memory fails here and not at a later write.
  void* address = ::mmap(base_ + committed_, bytes - committed_, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (address == MAP_FAILED) {
    throw Error(ErrorCode::out_of_memory, diagnostics::format("the system refused {} bytes for a heap of {}: {}",
                                                              bytes - committed_, bytes, std::strerror(errno)));
  }
  ::madvise(base_ + committed_, bytes - committed_, MADV_HUGEPAGE);
  committed_ = bytes;
}

}  // namespace railyard::symmetric_memory
