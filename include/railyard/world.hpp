// SPDX-License-Identifier: Apache-2.0
// All ranks of a job, and one rank's view of it.
#pragma once

#include <railyard/export.hpp>
#include <railyard/log.hpp>
#include <railyard/types.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
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
  /// Lines below `log_level` are dropped; RAILYARD_LOG has the last word. Without a callback they go to stderr.
  LogLevel log_level = LogLevel::warn;
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

  /// For the library.
  Rank(std::shared_ptr<bootstrap::Bootstrap> bootstrap, Device device, std::shared_ptr<diagnostics::Log> log,
       std::chrono::nanoseconds timeout, int debug, std::shared_ptr<diagnostics::Trace> trace = {});
  [[nodiscard]] const std::shared_ptr<bootstrap::Bootstrap>& bootstrap() const noexcept { return bootstrap_; }
  [[nodiscard]] const std::shared_ptr<diagnostics::Log>& log() const noexcept { return log_; }
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return timeout_; }
  [[nodiscard]] int debug() const noexcept { return debug_; }
  [[nodiscard]] const std::shared_ptr<diagnostics::Trace>& trace() const noexcept { return trace_; }

 private:
  std::shared_ptr<bootstrap::Bootstrap> bootstrap_;
  Device device_;
  std::shared_ptr<diagnostics::Log> log_;
  std::chrono::nanoseconds timeout_;
  int debug_;
  std::shared_ptr<diagnostics::Trace> trace_;  // or null
};

/// Ranks as threads of this process.
class RAILYARD_API World {
 public:
  /// `size` ranks. Throws RY-INVALID-ARGUMENT outside [1, 4096] or for a device that is not there, RY-ENVIRONMENT for a
  /// variable that cannot be read, RY-UNSUPPORTED for devices that this build or machine cannot use, with the reason:
  /// no CUDA part, an old driver, compute capability below 9.0, and with several ranks on a GPU fewer than 32 device
  /// connections (CUDA_DEVICE_MAX_CONNECTIONS=32, set before the process first uses CUDA).
  [[nodiscard]] static World threads(int size, WorldOptions options = {});
  World(World&&) noexcept;
  World& operator=(World&&) noexcept;
  ~World();

  [[nodiscard]] int size() const noexcept;
  /// Runs `function` once per rank, each in its own thread, and returns when all have ended. The first exception
  /// aborts the world (the others' waits end with RY-ABORTED), and is rethrown here as Error with the rank named:
  /// with its own code if it was an Error, else RY-RANK-FAILED. May be called again, also after a failure.
  void run(const std::function<void(Rank&)>& function);
  /// Ends every wait of the running ranks. Any thread.
  void abort(std::string_view reason);

 private:
  struct State;
  explicit World(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace railyard
