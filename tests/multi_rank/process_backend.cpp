// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/backend.hpp"
#include "multi_rank/process_world.hpp"

#include <stdexcept>

namespace railyard::multi_rank {
namespace {

class HostProcesses final : public HostBackend {
 public:
  std::string_view name() const override { return "host-processes"; }
  World make_world(int, WorldOptions) override {
    throw std::logic_error("no process has all ranks of a world of processes");
  }
  void run(int ranks, WorldOptions options, const std::function<void(Rank&)>& body, Report& report) override {
    run_processes(ranks, options, body, report);
  }
};

}  // namespace

Backend& host_processes() {
  static HostProcesses processes;
  return processes;
}

}  // namespace railyard::multi_rank
