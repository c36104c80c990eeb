// SPDX-License-Identifier: Apache-2.0
#include <railyard/world.hpp>

#include "api/require.hpp"
#include "bootstrap/bootstrap.hpp"
#include "bootstrap/launch_environment.hpp"
#include "bootstrap/meeting.hpp"
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/thread_bootstrap.hpp"
#include "diagnostics/environment.hpp"
#include "diagnostics/log.hpp"
#include "diagnostics/trace.hpp"
#ifdef RAILYARD_CUDA
#include "topology/cuda_devices.hpp"
#endif

#include <railyard/error.hpp>

#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard {
namespace {

constexpr std::chrono::seconds kDefaultTimeout{100};

// What a rank's function threw, as the error that World::run throws.
Error name_rank(int rank, const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    const std::string text = error.what();
    const std::string prefix = std::string(code_name(error.code())) + ": ";
    return {error.code(), diagnostics::format("rank {} failed: {}", rank,
                                              text.starts_with(prefix) ? text.substr(prefix.size()) : text)};
  } catch (const std::exception& error) {
    return {ErrorCode::rank_failed, diagnostics::format("rank {} failed: {}", rank, error.what())};
  } catch (...) {
    return {ErrorCode::rank_failed,
            diagnostics::format("rank {} failed with something that is no std::exception", rank)};
  }
}

// Of the ranks of this process, `first` and those behind it.
void check_devices(const std::vector<Device>& devices, int first, int count) {
  std::map<int, int> ranks_on;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    api::require_enumerator("a device's kind", devices[i].kind, DeviceKind::cuda);
    api::require(devices[i].kind == devices.front().kind,
                 "device {} is {} and device 0 is {}; all ranks are on one kind", i, name(devices[i].kind),
                 name(devices.front().kind));
  }
  if (devices.empty() || devices.front().kind == DeviceKind::host) return;
  for (int rank = first; rank < first + count; ++rank) {
    ++ranks_on[devices[static_cast<std::size_t>(rank) % devices.size()].index];
  }
#ifdef RAILYARD_CUDA
  topology::check_cuda_devices(ranks_on);
#else
  throw Error(ErrorCode::unsupported,
              "ranks on cuda devices; this build has no CUDA part (configure with "
              "-DRAILYARD_CUDA=ON)");
#endif
}

using Bootstraps = std::vector<std::shared_ptr<bootstrap::Bootstrap>>;

// Each rank in a thread of its own; returns when all have ended.
void run_threads(const Bootstraps& bootstraps,
                 const std::function<void(const std::shared_ptr<bootstrap::Bootstrap>&)>& run_rank,
                 const std::function<void(bootstrap::Bootstrap&, const std::exception_ptr&)>& fail) {
  std::vector<std::thread> threads;
  threads.reserve(bootstraps.size());
  for (const auto& bootstrap : bootstraps) {
    try {
      threads.emplace_back([&] { run_rank(bootstrap); });
    } catch (const std::exception& error) {  // the ranks that have started are told, and joined below
      fail(*bootstrap,
           std::make_exception_ptr(Error(ErrorCode::out_of_memory,
                                         diagnostics::format("the system refused its thread: {}", error.what()))));
      break;
    }
  }
  for (std::thread& thread : threads) thread.join();
}

void use_device([[maybe_unused]] Device device) {
#ifdef RAILYARD_CUDA
  if (device.kind == DeviceKind::cuda) topology::use_cuda_device(device.index);
#endif
}

}  // namespace

Rank::Rank(std::shared_ptr<bootstrap::Bootstrap> bootstrap, Device device, std::shared_ptr<diagnostics::Log> log,
           Settings settings)
    : bootstrap_(std::move(bootstrap)), device_(device), log_(std::move(log)), settings_(std::move(settings)) {}

int Rank::index() const noexcept { return bootstrap_->rank(); }
int Rank::world_size() const noexcept { return bootstrap_->size(); }
Device Rank::device() const noexcept { return device_; }

void Rank::barrier() { bootstrap_->all_gather(nullptr, nullptr, 0, "Rank::barrier", settings_.timeout); }

void Rank::all_gather(const void* mine, void* all, std::size_t bytes) {
  api::require(bytes == 0 || (mine && all),
               "Rank::all_gather of {} bytes from {} to {}; null is legal for 0 bytes only", bytes, mine, all);
  bootstrap_->all_gather(mine, all, bytes, "Rank::all_gather", settings_.timeout);
}

void Rank::abort(std::string_view reason) {
  bootstrap_->abort(diagnostics::format("rank {} aborted: {}", index(), reason));
}

struct World::State {
  State(int world_size, WorldOptions options);
  /// A world of processes, in which this one is `rank`.
  static std::unique_ptr<State> of_process(int rank, int size, WorldOptions options);

  [[nodiscard]] Bootstraps begin_run();
  void end_run();
  /// Runs a rank in the calling thread.
  void run_rank(const std::shared_ptr<bootstrap::Bootstrap>& bootstrap, const std::function<void(Rank&)>& function);
  void open_trace(int first_rank, int num_ranks);

  [[nodiscard]] Device device_of(int rank) const {
    return devices.empty() ? Device{} : devices[static_cast<std::size_t>(rank) % devices.size()];
  }

  int size = 0;
  std::vector<Device> devices;
  std::chrono::nanoseconds timeout{};
  int debug = 0;
  GpuHandles gpu_handles = GpuHandles::fd;
  std::string secret;
  std::optional<std::string> trace_file;
  std::shared_ptr<diagnostics::Log> log;
  std::shared_ptr<bootstrap::Bootstrap> process;  // of this process's rank; null: ranks are threads
  std::shared_ptr<diagnostics::Trace> trace;      // or null
  std::mutex mutex;
  Bootstraps running;                                        // of the current run
  std::vector<std::weak_ptr<bootstrap::Bootstrap>> earlier;  // of the runs before: their groups may be alive
};

World::State::State(int world_size, WorldOptions options) : size(world_size), devices(std::move(options.devices)) {
  api::require(size >= 1 && size <= bootstrap::kMaxRanks, "a world of {} ranks; 1 to {} are supported", size,
               bootstrap::kMaxRanks);
  api::require(options.timeout.count() >= 0, "a timeout of {} ns; at least 0", options.timeout.count());
  const diagnostics::Environment environment = diagnostics::read_environment();
  timeout = options.timeout.count() > 0 ? options.timeout : environment.timeout.value_or(kDefaultTimeout);
  debug = environment.debug;
  gpu_handles = environment.gpu_handles;
  secret = environment.secret;
  trace_file = environment.trace_file;
  const LogLevel log_level = options.log_level.value_or(environment.log_level.value_or(LogLevel::warn));
  log = std::make_shared<diagnostics::Log>(log_level, std::move(options.log));
}

std::unique_ptr<World::State> World::State::of_process(int rank, int size, WorldOptions options) {
  auto state = std::make_unique<State>(size, std::move(options));
  api::require(rank >= 0 && rank < size, "rank {} of a world of {} ranks; a rank is in [0, size)", rank, size);
  check_devices(state->devices, rank, 1);
  state->open_trace(rank, 1);
  return state;
}

Bootstraps World::State::begin_run() {
  const std::lock_guard lock(mutex);
  if (!running.empty()) throw Error(ErrorCode::invalid_argument, "World::run while the world runs already");
  if (process) {
    running = {process};
    return running;
  }
  std::erase_if(earlier, [](const auto& bootstrap) { return bootstrap.expired(); });
  auto bootstraps = bootstrap::make_thread_bootstraps(size, earlier);
  earlier.insert(earlier.end(), bootstraps.begin(), bootstraps.end());
  running = bootstraps;
  return bootstraps;
}

void World::State::end_run() {
  const std::lock_guard lock(mutex);
  running.clear();
}

void World::State::run_rank(const std::shared_ptr<bootstrap::Bootstrap>& bootstrap,
                            const std::function<void(Rank&)>& function) {
  const Device device = device_of(bootstrap->rank());
  use_device(device);
  Rank rank(bootstrap, device, log, {.timeout = timeout, .debug = debug, .gpu_handles = gpu_handles, .trace = trace});
  function(rank);
}

void World::State::open_trace(int first_rank, int num_ranks) {
  if (!trace_file) return;
  trace = diagnostics::Trace::open({.file = *trace_file, .first_rank = first_rank, .num_ranks = num_ranks}, log);
}

World::World(std::unique_ptr<State> state) : state_(std::move(state)) {}
World::World(World&&) noexcept = default;
World& World::operator=(World&&) noexcept = default;
World::~World() = default;

World World::threads(int size, WorldOptions options) {
  auto state = std::make_unique<State>(size, std::move(options));
  check_devices(state->devices, 0, size);
  state->open_trace(0, size);
  return World(std::move(state));
}

World World::connect(const Rendezvous& rendezvous, WorldOptions options) {
  auto state = State::of_process(rendezvous.rank, rendezvous.size, std::move(options));
  state->process =
      bootstrap::make_tcp_bootstrap({.rank = rendezvous.rank,
                                     .size = rendezvous.size,
                                     .address = rendezvous.address,
                                     .port = rendezvous.port,
                                     .secret = rendezvous.secret.empty() ? state->secret : rendezvous.secret,
                                     .external = rendezvous.external},
                                    state->timeout, state->log);
  return World(std::move(state));
}

World World::from_environment(WorldOptions options) {
  const bootstrap::LaunchEnvironment launched =
      bootstrap::read_launch_environment(diagnostics::read_environment().rendezvous);
  return connect({.rank = launched.rank,
                  .size = launched.size,
                  .address = launched.address,
                  .port = launched.port,
                  .external = launched.external},
                 std::move(options));
}

World World::from_all_gather(int rank, int size, const AllGather& all_gather, WorldOptions options) {
  api::require(static_cast<bool>(all_gather), "an empty function as the all-gather of {} ranks", size);
  auto state = State::of_process(rank, size, std::move(options));
  state->process = bootstrap::make_bootstrap_through(rank, size, all_gather, state->timeout, state->log);
  return World(std::move(state));
}

int World::size() const noexcept { return state_ ? state_->size : 0; }

void World::run(const std::function<void(Rank&)>& function) {
  if (!state_) throw Error(ErrorCode::destroyed, "World::run on a world that was moved from");
  const Bootstraps bootstraps = state_->begin_run();
  std::mutex mutex;
  int failed_rank = -1;
  std::exception_ptr failure;
  const auto fail = [&](bootstrap::Bootstrap& bootstrap, const std::exception_ptr& exception) {
    const std::string reason = name_rank(bootstrap.rank(), exception).what();
    const std::lock_guard lock(mutex);
    if (failure) return;
    failed_rank = bootstrap.rank();
    failure = exception;
    bootstrap.abort(reason);
  };
  const auto run_rank = [&](const std::shared_ptr<bootstrap::Bootstrap>& bootstrap) {
    try {
      state_->run_rank(bootstrap, function);
    } catch (...) {
      fail(*bootstrap, std::current_exception());
    }
  };
  if (state_->process) {
    run_rank(state_->process);
  } else {
    run_threads(bootstraps, run_rank, fail);
  }
  state_->end_run();
  if (failure) throw name_rank(failed_rank, failure);
}

void World::abort(std::string_view reason) {
  if (!state_) return;
  const std::lock_guard lock(state_->mutex);
  if (!state_->running.empty())
    state_->running.front()->abort(diagnostics::format("the world was aborted: {}", reason));
}

}  // namespace railyard
