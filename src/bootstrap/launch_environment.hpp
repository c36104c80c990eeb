// SPDX-License-Identifier: Apache-2.0
// What a launcher of processes tells each of them through the environment (docs/configuration.md).
#pragma once

#include "diagnostics/endpoint.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace railyard::bootstrap {

struct LaunchEnvironment {
  int rank = 0;
  int size = 1;
  int local_rank = 0;      // among the ranks of this machine
  std::string address;     // of rank 0, or of the external rendezvous
  std::uint16_t port = 0;  // for Railyard's rendezvous: the one after MASTER_PORT, or the external one's
  bool external = false;
};

/// Reads the variables of torchrun, else of Open MPI, else of Slurm: of the first of them whose variable for the rank
/// is set (torchrun may run inside the others, Open MPI inside Slurm); and where they meet: at `rendezvous`, which is
/// external, else as MASTER_ADDR and MASTER_PORT say. Port MASTER_PORT itself is left to torch, whose store listens
/// there before or after Railyard does. RY-ENVIRONMENT names the variable that is missing or cannot be read, its value,
/// and what is accepted.
[[nodiscard]] LaunchEnvironment read_launch_environment(const std::optional<diagnostics::Endpoint>& rendezvous = {});

/// The launcher whose variables it reads: "torchrun", "Open MPI" or "Slurm"; empty if there is none.
[[nodiscard]] std::string_view launcher_name();

}  // namespace railyard::bootstrap
