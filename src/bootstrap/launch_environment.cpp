// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/launch_environment.hpp"

#include "bootstrap/bootstrap.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace railyard::bootstrap {
namespace {

constexpr int kMaxMasterPort = 65534;  // Railyard's is the next

struct Variable {
  std::string_view name;
  const char* value;  // null: not set
};

struct Launcher {
  std::string_view name;
  Variable rank;
  Variable size;
  Variable local_rank;
};

std::string_view value_of(const Variable& variable, std::string_view launcher) {
  if (variable.value == nullptr || *variable.value == '\0') {
    throw Error(ErrorCode::environment,
                diagnostics::format("{} is not set; ranks as processes of {} need it", variable.name, launcher));
  }
  return variable.value;
}

int number_of(const Variable& variable, std::string_view launcher, int least, int most) {
  const std::string_view text = value_of(variable, launcher);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < least || number > most) {
    throw Error(ErrorCode::environment,
                diagnostics::format("{}=\"{}\" cannot be read; accepted: {} to {}", variable.name, text, least, most));
  }
  return number;
}

std::optional<Launcher> find_launcher() {
  const Launcher launchers[] = {
      {"torchrun",
       {"RANK", std::getenv("RANK")},
       {"WORLD_SIZE", std::getenv("WORLD_SIZE")},
       {"LOCAL_RANK", std::getenv("LOCAL_RANK")}},
      {"Open MPI",
       {"OMPI_COMM_WORLD_RANK", std::getenv("OMPI_COMM_WORLD_RANK")},
       {"OMPI_COMM_WORLD_SIZE", std::getenv("OMPI_COMM_WORLD_SIZE")},
       {"OMPI_COMM_WORLD_LOCAL_RANK", std::getenv("OMPI_COMM_WORLD_LOCAL_RANK")}},
      {"Slurm",
       {"SLURM_PROCID", std::getenv("SLURM_PROCID")},
       {"SLURM_NTASKS", std::getenv("SLURM_NTASKS")},
       {"SLURM_LOCALID", std::getenv("SLURM_LOCALID")}},
  };
  for (const Launcher& launcher : launchers) {
    if (launcher.rank.value != nullptr) return launcher;
  }
  return std::nullopt;
}

}  // namespace

LaunchEnvironment read_launch_environment(const std::optional<diagnostics::Endpoint>& rendezvous) {
  const std::optional<Launcher> found = find_launcher();
  if (!found) {
    throw Error(ErrorCode::environment,
                "none of RANK (torchrun), OMPI_COMM_WORLD_RANK (Open MPI), SLURM_PROCID (Slurm) is set; ranks as "
                "processes need a launcher");
  }
  const Launcher& launcher = *found;
  LaunchEnvironment environment;
  environment.size = number_of(launcher.size, launcher.name, 1, kMaxRanks);
  environment.rank = number_of(launcher.rank, launcher.name, 0, environment.size - 1);
  environment.local_rank = number_of(launcher.local_rank, launcher.name, 0, environment.size - 1);
  if (rendezvous) {
    environment.address = rendezvous->host;
    environment.port = rendezvous->port;
    environment.external = true;
    return environment;
  }
  environment.address = value_of({"MASTER_ADDR", std::getenv("MASTER_ADDR")}, launcher.name);
  const int port = number_of({"MASTER_PORT", std::getenv("MASTER_PORT")}, launcher.name, 1, kMaxMasterPort);
  environment.port = static_cast<std::uint16_t>(port + 1);
  return environment;
}

std::string_view launcher_name() {
  const std::optional<Launcher> launcher = find_launcher();
  return launcher ? launcher->name : "";
}

}  // namespace railyard::bootstrap
