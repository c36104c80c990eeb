// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/backend.hpp"
#include "multi_rank/process_world.hpp"

#include <stdexcept>
#include <string>

namespace railyard::multi_rank {
namespace {

class HostProcesses final : public HostBackend {
 public:
  std::string_view name() const override { return "host-processes"; }
  World make_world(int, WorldOptions) override {
    throw std::logic_error("no process has all ranks of a world of processes");
  }
  void run(int ranks, WorldOptions options, const std::function<void(Rank&)>& body, Report& report) override {
    ProcessWorld world(ranks, options, body, report);
    for (int rank = 0; rank < ranks; ++rank) {
      if (const int status = world.finish(rank, report); status != 0) {
        report.fail("the process of rank " + std::to_string(rank) + " ended with status " + std::to_string(status));
      }
    }
  }
};

}  // namespace

Backend& host_processes() {
  static HostProcesses processes;
  return processes;
}

}  // namespace railyard::multi_rank
