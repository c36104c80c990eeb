// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_green_context.hpp"

#include "device/cuda_call.hpp"
#include "device/cuda_driver.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

namespace railyard::cli::bench {
namespace {

struct Driver {
  decltype(&cuGetErrorName) error_name = nullptr;
  decltype(&cuDeviceGet) get_device = nullptr;
  decltype(&cuDeviceGetDevResource) get_resource = nullptr;
  decltype(&cuDevSmResourceSplitByCount) split = nullptr;
  decltype(&cuDevResourceGenerateDesc) describe = nullptr;
  decltype(&cuGreenCtxCreate) create = nullptr;
  decltype(&cuGreenCtxDestroy) destroy = nullptr;
  decltype(&cuCtxFromGreenCtx) as_context = nullptr;
  decltype(&cuGreenCtxStreamCreate) create_stream = nullptr;
  decltype(&cuCtxPushCurrent) push = nullptr;
  decltype(&cuCtxPopCurrent) pop = nullptr;

  Driver() {
    find(error_name, "cuGetErrorName");
    find(get_device, "cuDeviceGet");
    find(get_resource, "cuDeviceGetDevResource");
    find(split, "cuDevSmResourceSplitByCount");
    find(describe, "cuDevResourceGenerateDesc");
    find(create, "cuGreenCtxCreate");
    find(destroy, "cuGreenCtxDestroy");
    find(as_context, "cuCtxFromGreenCtx");
    find(create_stream, "cuGreenCtxStreamCreate", 12050);
    find(push, "cuCtxPushCurrent");
    find(pop, "cuCtxPopCurrent");
  }

  void require(CUresult result, const char* what) const {
    if (result == CUDA_SUCCESS) {
      return;
    }
    const char* name = nullptr;
    error_name(result, &name);
    throw Error(ErrorCode::unsupported,
                diagnostics::format("--beside gemm: {}: {}", what, name != nullptr ? name : "an unknown error"));
  }

 private:
  template <typename Function>
  static void find(Function& function, const char* symbol, unsigned version = 12040) {
    device::find_in_driver(symbol, version, function);
    if (function == nullptr) {
      throw Error(ErrorCode::unsupported,
                  diagnostics::format("--beside gemm: the CUDA driver has no {}: update it", symbol));
    }
  }
};

const Driver& driver() {
  static const Driver functions;
  return functions;
}

}  // namespace

GreenContext::GreenContext(int device, int left_sms) {
  const device::UseDevice use(device);
  device::require_cuda(cudaFree(nullptr), "a context");  // of the runtime, whose memory this one shares
  CUdevice handle = 0;
  CUdevResource all{};
  CUdevResource left{};
  CUdevResource rest{};
  unsigned int groups = 1;
  CUdevResourceDesc description = nullptr;
  driver().require(driver().get_device(&handle, device), "a device");
  driver().require(driver().get_resource(handle, &all, CU_DEV_RESOURCE_TYPE_SM), "asking for the SMs");
  driver().require(driver().split(&left, &groups, &all, &rest, 0, static_cast<unsigned int>(left_sms)),
                   "dividing the SMs");
  driver().require(driver().describe(&description, &rest, 1), "describing SMs");
  driver().require(driver().create(&green_, description, handle, CU_GREEN_CTX_DEFAULT_STREAM), "a green context");
  driver().require(driver().as_context(&context_, green_), "a green context");
  driver().require(driver().create_stream(&stream_, green_, CU_STREAM_NON_BLOCKING, 0), "a stream of some SMs");
  sms_ = static_cast<int>(rest.sm.smCount);
}

GreenContext::~GreenContext() {
  static_cast<void>(cudaStreamDestroy(stream_));
  static_cast<void>(driver().destroy(green_));
}

GreenContext::Use::Use(const GreenContext& context) {
  driver().require(driver().push(context.context_), "using a green context");
}

GreenContext::Use::~Use() {
  CUcontext before = nullptr;
  static_cast<void>(driver().pop(&before));
}

}  // namespace railyard::cli::bench
