// SPDX-License-Identifier: Apache-2.0
// What NVML says of GPUs. It knows them by UUID, also those that this process does not see through CUDA.
#pragma once

#include "topology/cuda_devices.hpp"

#include <string>
#include <vector>

namespace railyard::topology {

/// The functions of libnvidia-ml.so.1 that are used here, as nvml.h has them; they return 0 for success.
struct Nvml {
  using Device = void*;
  int (*device_by_uuid)(const char* uuid, Device* device) = nullptr;
  int (*p2p_status)(Device from, Device to, int capability, int* status) = nullptr;
  int (*link_state)(Device device, unsigned link, int* active) = nullptr;
  const char* (*error_text)(int error) = nullptr;
};

/// Loaded and initialised once. Throws RY-UNSUPPORTED with what failed.
[[nodiscard]] const Nvml& loaded_nvml();

/// As nvidia-smi -L has it: GPU-01234567-89ab-cdef-0123-456789abcdef.
[[nodiscard]] std::string uuid_of(const CudaIdentity& gpu);

/// Throws RY-UNSUPPORTED, naming both, unless NVLink joins each of `others` to `mine`, which is `device` here, and each
/// of the two can load, store and add in the memory of the other. What NVML cannot tell is refused too.
void check_links(const Nvml& nvml, int device, const CudaIdentity& mine, const std::vector<CudaIdentity>& others);

/// NVLinks of a GPU that are up, 0 if it has none. Throws RY-UNSUPPORTED if NVML does not find it.
[[nodiscard]] int count_links(const Nvml& nvml, const CudaIdentity& gpu);

}  // namespace railyard::topology
