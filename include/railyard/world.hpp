// SPDX-License-Identifier: Apache-2.0
// All ranks of a job, and one rank's view of it.
#pragma once

#include <railyard/export.hpp>
#include <railyard/log.hpp>
#include <railyard/types.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace railyard {

namespace bootstrap {
class Bootstrap;
}
namespace diagnostics {
class Log;
class Trace;
}  // namespace diagnostics

struct WorldOptions {
  /// Deadline of every collective call that names none of its own. 0: RAILYARD_TIMEOUT_S, or 100 s.
  std::chrono::nanoseconds timeout{0};
  /// Lines below it are dropped. Not set: RAILYARD_LOG, or `warn`. Without a callback they go to stderr.
  std::optional<LogLevel> log_level = {};
  LogCallback log = {};
  /// Where the ranks are: rank r is on devices[r % devices.size()]. Empty: all on the host. A device is named as often
  /// as it should hold ranks in turn: several ranks on one GPU are virtual ranks, which run the same kernels.
  std::vector<Device> devices = {};
};

/// One participant: its index, its device, and the out-of-band collectives that groups are created with.
/// Used by one thread; a group made from it may outlive it.
class RAILYARD_API Rank {
 public:
  [[nodiscard]] int index() const noexcept;
  [[nodiscard]] int world_size() const noexcept;
  [[nodiscard]] Device device() const noexcept;

  /// Collective. Throws RY-TIMEOUT naming the ranks that did not come, RY-ABORTED after `abort`.
  void barrier();
  /// Collective: `all` receives world_size() blocks of `bytes`, ordered by rank. Same errors.
  void all_gather(const void* mine, void* all, std::size_t bytes);
  /// Ends every wait of every rank in this world with RY-ABORTED and this reason. Any thread; never blocks.
  void abort(std::string_view reason);

  /// For the library: what the world's options and the environment say.
  struct Settings {
    std::chrono::nanoseconds timeout{0};
    int debug = 0;
    GpuHandles gpu_handles = GpuHandles::fd;
    std::shared_ptr<diagnostics::Trace> trace = {};  // or null
  };
  Rank(std::shared_ptr<bootstrap::Bootstrap> bootstrap, Device device, std::shared_ptr<diagnostics::Log> log,
       Settings settings);
  [[nodiscard]] const std::shared_ptr<bootstrap::Bootstrap>& bootstrap() const noexcept { return bootstrap_; }
  [[nodiscard]] const std::shared_ptr<diagnostics::Log>& log() const noexcept { return log_; }
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return settings_.timeout; }
  [[nodiscard]] int debug() const noexcept { return settings_.debug; }
  [[nodiscard]] GpuHandles gpu_handles() const noexcept { return settings_.gpu_handles; }
  [[nodiscard]] const std::shared_ptr<diagnostics::Trace>& trace() const noexcept { return settings_.trace; }

 private:
  std::shared_ptr<bootstrap::Bootstrap> bootstrap_;
  Device device_;
  std::shared_ptr<diagnostics::Log> log_;
  Settings settings_;
};

/// Where the processes of a world meet. The same in all of them, but for `rank`.
struct Rendezvous {
  int rank = 0;  // of this process
  int size = 1;
  std::string address;     // a name or number (IPv4, IPv6) at which the others reach rank 0, or the external rendezvous
  std::uint16_t port = 0;  // it listens there; 1 to 65535
  /// Of this job, at most 256 bytes: a process that presents another is refused and logged. It keeps jobs apart;
  /// nothing is encrypted. Empty: RAILYARD_SECRET, or none.
  std::string secret = {};
  /// `railyard rendezvous` listens there, and rank 0 connects like the others: its process may be lost like any
  /// other's.
  bool external = false;
};

/// Collective of another library: `all` receives a block of `bytes` from every rank, in rank order.
using AllGather = std::function<void(const void* mine, void* all, std::size_t bytes)>;

/// All ranks of a job: as threads of this process, or as processes with one rank each.
///
/// Between processes, ranks are on one machine so far: a group names a rank that is on another (RY-UNSUPPORTED), but
/// for GPUs in one NVLink domain with GroupOptions::gpu_handles = fabric, which has not been tried between machines. A
/// process names its own device (`devices` with one element, by its own numbering), or those of all ranks in turn; all
/// are on one kind. When a process ends without a word, the waits of all others end at once with RY-ABORTED naming its
/// rank; its memory stays mapped as long as somebody uses it. From then on the world has no collectives and makes no
/// groups, but groups may recover (Group::recover), unless it was the process that all meet through: rank 0's, or,
/// where the rendezvous is external, that: then groups end too. A rank whose function throws aborts the world: nobody
/// recovers from that.
/// Not promised: once rank 0's world and groups are destroyed nobody passes a death on (an external rendezvous does),
/// and as long as a child that the process forked without exec lives it counts as alive, since the child holds its
/// connections. The others' deadlines remain.
class RAILYARD_API World {
 public:
  /// `size` ranks. Throws RY-INVALID-ARGUMENT outside [1, 4096] or for a device that is not there, RY-ENVIRONMENT for a
  /// variable that cannot be read, RY-UNSUPPORTED for devices that this build or machine cannot use, with the reason:
  /// no CUDA part, an old driver, compute capability below 9.0, and with several ranks on a GPU fewer than 32 device
  /// connections (CUDA_DEVICE_MAX_CONNECTIONS=32, set before the process first uses CUDA) or more than 32 ranks.
  [[nodiscard]] static World threads(int size, WorldOptions options = {});
  /// This process is one rank. Collective: returns once all have connected to rank 0, or the external rendezvous.
  /// Throws RY-TIMEOUT naming the ranks that did not come, after which it may be tried again, RY-CONFIG-MISMATCH if it
  /// is refused there (another version, secret or number of ranks, a rank that is there already), RY-OUT-OF-MEMORY if
  /// the system refuses a thread, and as `threads`. After another world at the same address: once rank 0, or where the
  /// rendezvous is external everyone, has left that.
  [[nodiscard]] static World connect(const Rendezvous& rendezvous, WorldOptions options = {});
  /// `connect` with what torchrun, Open MPI or Slurm say in their variables, at the external rendezvous of
  /// RAILYARD_RENDEZVOUS if that is set (docs/configuration.md). RY-ENVIRONMENT names the variable that is missing or
  /// cannot be read.
  [[nodiscard]] static World from_environment(WorldOptions options = {});
  /// `connect` for processes that another library has brought together: `all_gather` is called twice, here, by every
  /// rank, and carries rank 0's address and a random secret; then the world has connections of its own, with deadlines.
  /// What `all_gather` throws is passed on.
  [[nodiscard]] static World from_all_gather(int rank, int size, const AllGather& all_gather,
                                             WorldOptions options = {});
  World(World&&) noexcept;
  World& operator=(World&&) noexcept;
  ~World();

  [[nodiscard]] int size() const noexcept;
  /// Runs `function` once per rank of this process, and returns when all have ended: for threads each rank in its own,
  /// for a process its rank in the calling thread. The first exception aborts the world (the others' waits end with
  /// RY-ABORTED), and is rethrown here as Error with the rank named: with its own code if it was an Error, else
  /// RY-RANK-FAILED. May be called again; after a failure only by a world of threads.
  void run(const std::function<void(Rank&)>& function);
  /// Ends every wait of the running ranks. Any thread.
  void abort(std::string_view reason);

 private:
  struct State;
  explicit World(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace railyard
