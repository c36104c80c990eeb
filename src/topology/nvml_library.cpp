// SPDX-License-Identifier: Apache-2.0
// NVML comes with the driver, but not into every container: it is looked for when somebody asks.
#include "diagnostics/format.hpp"
#include "topology/nvml.hpp"

#include <railyard/error.hpp>

#include <dlfcn.h>

namespace railyard::topology {
namespace {

constexpr const char* kFile = "libnvidia-ml.so.1";

[[noreturn]] void refuse(const char* what) {
  throw Error(ErrorCode::unsupported,
              diagnostics::format("{}, which knows what joins GPUs that this process does not see: {}; install it (it "
                                  "comes with the driver; containers: the capability utility), or let the processes "
                                  "see all GPUs of their group (CUDA_VISIBLE_DEVICES)",
                                  kFile, what));
}

template <typename Function>
void find(void* library, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, symbol));
  if (!function) refuse(diagnostics::format("it has no {}", symbol).c_str());
}

Nvml load() {
  void* const library = dlopen(kFile, RTLD_NOW | RTLD_LOCAL);  // stays: what ends with the process needs no end
  if (!library) refuse(dlerror());
  Nvml nvml;
  int (*initialise)() = nullptr;
  find(library, "nvmlInit_v2", initialise);
  find(library, "nvmlErrorString", nvml.error_text);
  find(library, "nvmlDeviceGetHandleByUUID", nvml.device_by_uuid);
  find(library, "nvmlDeviceGetP2PStatus", nvml.p2p_status);
  find(library, "nvmlDeviceGetNvLinkState", nvml.link_state);
  if (const int error = initialise(); error != 0) refuse(nvml.error_text(error));
  return nvml;
}

}  // namespace

const Nvml& loaded_nvml() {
  static const Nvml functions = load();
  return functions;
}

}  // namespace railyard::topology
