// SPDX-License-Identifier: Apache-2.0
#include "topology/cuda_requirements.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <charconv>
#include <string_view>

namespace railyard::topology {
namespace {

constexpr int kDefaultConnections = 8;
constexpr int kMostConnections = 32;

}  // namespace

void check_driver(int supported, int needed) {
  if (supported >= needed) return;
  throw Error(ErrorCode::unsupported,
              supported == 0
                  ? "no CUDA driver is installed here"
                  : diagnostics::format("the driver supports CUDA {}.{}; at least {}.{} is needed: update it",
                                        supported / 1000, supported % 1000 / 10, needed / 1000, needed % 1000 / 10));
}

void check_device_connections(int device, int ranks, const char* variable) {
  if (ranks == 1) return;
  const std::string_view value = variable ? variable : "";
  int connections = kDefaultConnections;
  std::from_chars(value.data(), value.data() + value.size(), connections);
  if (connections < kMostConnections) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("{} ranks on device {} with {} device connections; set "
                                    "CUDA_DEVICE_MAX_CONNECTIONS={} before the process first uses CUDA",
                                    ranks, device, connections, kMostConnections));
  }
  if (ranks > kMostConnections) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("{} ranks on device {}; each needs a device connection of its own, and CUDA has at "
                                    "most {} (CUDA_DEVICE_MAX_CONNECTIONS): put ranks on more devices",
                                    ranks, device, kMostConnections));
  }
}

void check_peer(int from, int to, bool access, bool atomics) {
  if (access && atomics) return;
  throw Error(ErrorCode::unsupported,
              diagnostics::format("device cuda:{} cannot {} the memory of cuda:{}; ranks of one group need NVLink "
                                  "between their GPUs (see nvidia-smi topo -m): choose other devices",
                                  from, access ? "add atomically in" : "access", to));
}

}  // namespace railyard::topology
