// SPDX-License-Identifier: Apache-2.0
// Ranges for NVIDIA's profilers (NVTX, domain "railyard"): what the host does for an operation, and what it launches,
// under the operation's name. Without a profiler a range is one comparison; without NVTX in the build it is nothing.
#pragma once

#if defined(RAILYARD_NVTX)
#include <nvtx3/nvToolsExt.h>
#endif

namespace railyard::diagnostics {

class NvtxRange {
 public:
#if defined(RAILYARD_NVTX)
  /// `name` ends with a zero and is copied by the profiler.
  explicit NvtxRange(const char* name) noexcept {
    nvtxEventAttributes_t attributes{};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
    attributes.message.ascii = name;
    nvtxDomainRangePushEx(domain(), &attributes);
  }
  ~NvtxRange() { nvtxDomainRangePop(domain()); }
#else
  explicit NvtxRange(const char*) noexcept {}
  ~NvtxRange() {}  // not trivial: a variable that is only made is no unused one
#endif
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;

#if defined(RAILYARD_NVTX)
 private:
  static nvtxDomainHandle_t domain() noexcept {
    static nvtxDomainHandle_t const handle = nvtxDomainCreateA("railyard");  // for the life of the process
    return handle;
  }
#endif
};

}  // namespace railyard::diagnostics
