// SPDX-License-Identifier: Apache-2.0
// What the GPUs of this machine are and may do with each other.
#pragma once

#include <array>
#include <map>
#include <vector>

namespace railyard::topology {

/// Device index -> ranks of this process on it. Throws RY-INVALID-ARGUMENT for a device that is not there and
/// RY-UNSUPPORTED, with what to do, for a driver that is too old, a compute capability below 9.0, and too few device
/// connections for several ranks on one GPU.
void check_cuda_devices(const std::map<int, int>& ranks_on);

/// A GPU itself, whatever number a process gives it: its UUID.
using CudaIdentity = std::array<char, 16>;

[[nodiscard]] CudaIdentity identity_of(int device);
/// The devices of this process that are among these GPUs, each once, ascending. A process need not see its peers' GPUs
/// (CUDA_VISIBLE_DEVICES).
[[nodiscard]] std::vector<int> visible_devices(const std::vector<CudaIdentity>& gpus);

/// Throws RY-UNSUPPORTED, naming both, unless each of these devices can load, store and add in the memory of the
/// others.
void check_peer_access(const std::vector<int>& devices);

/// Makes it current in this thread.
void use_cuda_device(int device);

/// SMs that the current context may use: all, or those of a green context or an MPS share.
[[nodiscard]] int available_sms(int index);

}  // namespace railyard::topology
