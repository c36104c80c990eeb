// SPDX-License-Identifier: Apache-2.0
#include "topology/cuda_fabric.hpp"

#include "device/cuda_call.hpp"
#include "device/cuda_driver.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <string_view>

namespace railyard::topology {
namespace {

using device::cuda_driver;
using diagnostics::format;

constexpr std::string_view kFileDescriptors = "or leave RAILYARD_GPU_HANDLES=fd, for processes of one machine";

std::string name_of(CUresult result) {
  const char* text = nullptr;
  cuda_driver().error_name(result, &text);
  return text ? text : format("error {}", static_cast<int>(result));
}

// CUDA_SUCCESS and whether the driver has fabric handles for this GPU; or what it answered.
CUresult ask_attribute(int index, int& supported) {
  CUdevice device = 0;
  const CUresult found = cuda_driver().device(&device, index);
  if (found != CUDA_SUCCESS) return found;
  return cuda_driver().device_attribute(&supported, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED, device);
}

struct Trial {
  CUresult result = CUDA_SUCCESS;
  std::string_view step;
};

// As a heap does it: a granule is allocated for export, and exported.
Trial try_export(int device) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_FABRIC;
  std::size_t bytes = 0;
  CUresult result = cuda_driver().granularity(&bytes, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  if (result != CUDA_SUCCESS) return {result, "asking for the granularity"};
  CUmemGenericAllocationHandle memory = 0;
  result = cuda_driver().create(&memory, bytes, &properties, 0);
  if (result != CUDA_SUCCESS) return {result, "allocating"};
  CUmemFabricHandle exported{};
  result = cuda_driver().export_handle(&exported, memory, CU_MEM_HANDLE_TYPE_FABRIC, 0);
  cuda_driver().release(memory);
  return {result, "exporting"};
}

}  // namespace

FabricHandles ask_for_fabric_handles(int device) {
  const device::UseDevice current(device);
  device::require_cuda(cudaSetDevice(device), "using a device");  // makes its context, should there be none
  FabricHandles handles;
  int supported = 0;
  if (const CUresult answer = ask_attribute(device, supported); answer != CUDA_SUCCESS || supported == 0) {
    handles.refusal = format("cuda:{} has no fabric handles: CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED is {}",
                             device, answer == CUDA_SUCCESS ? "0" : name_of(answer));
    handles.remedy =
        format("use GPUs on NVSwitch (nvidia-smi -q: Fabric) with a driver that has them, {}", kFileDescriptors);
    return handles;
  }
  handles.supported = true;
  const Trial trial = try_export(device);
  if (trial.result == CUDA_SUCCESS) {
    handles.permitted = true;
    return handles;
  }
  handles.refusal = format("cuda:{} gave no fabric handle: {}: {}", device, trial.step, name_of(trial.result));
  switch (trial.result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      throw Error(ErrorCode::out_of_memory, handles.refusal);
    case CUDA_ERROR_NOT_PERMITTED:
      handles.refusal += ": this process has no IMEX channel";
      handles.remedy = format(
          "let root start nvidia-imex and make /dev/nvidia-caps-imex-channels/channel0, which this "
          "user may read and write, also inside its container; {}",
          kFileDescriptors);
      break;
    case CUDA_ERROR_NOT_SUPPORTED:
      handles.refusal += ": the driver, or the fabric of this machine, does not have them";
      handles.remedy = format(
          "see that the fabric is up (nvidia-smi -q: Fabric, State: Completed) and that "
          "nvidia-fabricmanager and nvidia-imex run, {}",
          kFileDescriptors);
      break;
    default:
      handles.remedy = format("see what nvidia-smi -q and the kernel's log say, {}", kFileDescriptors);
  }
  return handles;
}

void check_gpu_handles(int device, GpuHandles handles) {
  if (handles != GpuHandles::fabric) return;
  const FabricHandles fabric = ask_for_fabric_handles(device);
  if (fabric.permitted) return;
  throw Error(ErrorCode::unsupported, format("gpu_handles is fabric, but {}; {}", fabric.refusal, fabric.remedy));
}

}  // namespace railyard::topology
