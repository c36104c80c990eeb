// SPDX-License-Identifier: Apache-2.0
// What a plain all-to-all is told about one rank's rows in one slot, and the memory for it.
#pragma once

#include "cli/bench/cuda_resources.hpp"
#include "cli/bench/session.hpp"

#include <cstdint>
#include <vector>

namespace railyard::cli::bench {

struct NcclPlan {
  std::vector<std::int64_t> sent;      // rows to each rank, in tokens' order
  std::vector<std::int64_t> received;  // rows from each rank
  std::int64_t all_sent = 0;
  std::int64_t all_received = 0;
  DeviceMemory tokens;  // int32 [all_sent]: the token of each row sent
  DeviceMemory places;  // int32 [tokens, ranks]: the row that a rank's partial sum comes back in, or -1
  DeviceMemory rows;    // what arrives
  DeviceMemory scales;
};

[[nodiscard]] NcclPlan plan_nccl(const Session& session, int device, int rank, int slot);

}  // namespace railyard::cli::bench
