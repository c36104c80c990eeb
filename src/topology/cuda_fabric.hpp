// SPDX-License-Identifier: Apache-2.0
// Whether memory of a GPU can be handed over by fabric handles (CUmemFabricHandle).
#pragma once

#include <railyard/types.hpp>

#include <string>

namespace railyard::topology {

struct FabricHandles {
  bool supported = false;    // the driver says so of the GPU
  bool permitted = false;    // and has just allocated and exported a granule for this process
  std::string refusal = {};  // what stands against them; empty if, and only if, permitted
  std::string remedy = {};   // what to do; the same
};

/// Asks the driver, then tries. Throws RY-OUT-OF-MEMORY if the GPU has no granule left.
[[nodiscard]] FabricHandles ask_for_fabric_handles(int device);

/// Throws RY-UNSUPPORTED with the reason, and what to do, unless this process can hand memory of `device` over so;
/// RY-OUT-OF-MEMORY as above.
void check_gpu_handles(int device, GpuHandles handles);

}  // namespace railyard::topology
