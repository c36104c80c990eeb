// SPDX-License-Identifier: Apache-2.0
#include <railyard/world.hpp>

#include "api/require.hpp"
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
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace railyard {
namespace {

constexpr int kMaxRanks = 4096;
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

// Of ranks that share this process.
void check_devices(const std::vector<Device>& devices, int size) {
  std::map<int, int> ranks_on;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    api::require_enumerator("a device's kind", devices[i].kind, DeviceKind::cuda);
    api::require(devices[i].kind == devices.front().kind,
                 "device {} is {} and device 0 is {}; all ranks are on one kind", i, name(devices[i].kind),
                 name(devices.front().kind));
  }
  if (devices.empty() || devices.front().kind == DeviceKind::host) return;
  for (int rank = 0; rank < size; ++rank) ++ranks_on[devices[static_cast<std::size_t>(rank) % devices.size()].index];
#ifdef RAILYARD_CUDA
  topology::check_cuda_devices(ranks_on);
#else
  throw Error(ErrorCode::unsupported,
              "ranks on cuda devices; this build has no CUDA part (configure with "
              "-DRAILYARD_CUDA=ON)");
#endif
}

void use_device([[maybe_unused]] Device device) {
#ifdef RAILYARD_CUDA
  if (device.kind == DeviceKind::cuda) topology::use_cuda_device(device.index);
#endif
}

}  // namespace

Rank::Rank(std::shared_ptr<bootstrap::Bootstrap> bootstrap, Device device, std::shared_ptr<diagnostics::Log> log,
           std::chrono::nanoseconds timeout, int debug, std::shared_ptr<diagnostics::Trace> trace)
    : bootstrap_(std::move(bootstrap)),
      device_(device),
      log_(std::move(log)),
      timeout_(timeout),
      debug_(debug),
      trace_(std::move(trace)) {}

int Rank::index() const noexcept { return bootstrap_->rank(); }
int Rank::world_size() const noexcept { return bootstrap_->size(); }
Device Rank::device() const noexcept { return device_; }

void Rank::barrier() { bootstrap_->all_gather(nullptr, nullptr, 0, "Rank::barrier", timeout_); }

void Rank::all_gather(const void* mine, void* all, std::size_t bytes) {
  api::require(bytes == 0 || (mine && all),
               "Rank::all_gather of {} bytes from {} to {}; null is legal for 0 bytes only", bytes, mine, all);
  bootstrap_->all_gather(mine, all, bytes, "Rank::all_gather", timeout_);
}

void Rank::abort(std::string_view reason) {
  bootstrap_->abort(diagnostics::format("rank {} aborted: {}", index(), reason));
}

struct World::State {
  [[nodiscard]] std::vector<std::shared_ptr<bootstrap::Bootstrap>> begin_run();
  [[nodiscard]] std::shared_ptr<diagnostics::Trace> open_trace(const diagnostics::Environment& environment) const;

  [[nodiscard]] Device device_of(int rank) const {
    return devices.empty() ? Device{} : devices[static_cast<std::size_t>(rank) % devices.size()];
  }

  int size = 0;
  std::vector<Device> devices;
  std::chrono::nanoseconds timeout{};
  int debug = 0;
  std::shared_ptr<diagnostics::Log> log;
  std::shared_ptr<diagnostics::Trace> trace;  // or null
  std::mutex mutex;
  std::vector<std::shared_ptr<bootstrap::Bootstrap>> running;  // of the current run
  std::vector<std::weak_ptr<bootstrap::Bootstrap>> earlier;    // of the runs before: their groups may be alive
};

std::vector<std::shared_ptr<bootstrap::Bootstrap>> World::State::begin_run() {
  const std::lock_guard lock(mutex);
  if (!running.empty()) throw Error(ErrorCode::invalid_argument, "World::run while the world runs already");
  std::erase_if(earlier, [](const auto& bootstrap) { return bootstrap.expired(); });
  auto bootstraps = bootstrap::make_thread_bootstraps(size, earlier);
  earlier.insert(earlier.end(), bootstraps.begin(), bootstraps.end());
  running = bootstraps;
  return bootstraps;
}

std::shared_ptr<diagnostics::Trace> World::State::open_trace(const diagnostics::Environment& environment) const {
  if (!environment.trace_file) return nullptr;
  if (device_of(0).kind != DeviceKind::host) {
    log->write(LogLevel::warn, "RAILYARD_TRACE: operations on GPUs are not traced; no file is written");
    return nullptr;
  }
  return diagnostics::Trace::open({.file = *environment.trace_file, .num_ranks = size}, log);
}

World::World(std::unique_ptr<State> state) : state_(std::move(state)) {}
World::World(World&&) noexcept = default;
World& World::operator=(World&&) noexcept = default;
World::~World() = default;

World World::threads(int size, WorldOptions options) {
  api::require(size >= 1 && size <= kMaxRanks, "a world of {} ranks; 1 to {} are supported", size, kMaxRanks);
  api::require(options.timeout.count() >= 0, "a timeout of {} ns; at least 0", options.timeout.count());
  const diagnostics::Environment environment = diagnostics::read_environment();
  auto state = std::make_unique<State>();
  state->size = size;
  check_devices(options.devices, size);
  state->devices = std::move(options.devices);
  state->timeout = options.timeout.count() > 0 ? options.timeout : environment.timeout.value_or(kDefaultTimeout);
  state->debug = environment.debug;
  state->log =
      std::make_shared<diagnostics::Log>(environment.log_level.value_or(options.log_level), std::move(options.log));
  state->trace = state->open_trace(environment);
  return World(std::move(state));
}

int World::size() const noexcept { return state_ ? state_->size : 0; }

void World::run(const std::function<void(Rank&)>& function) {
  if (!state_) throw Error(ErrorCode::destroyed, "World::run on a world that was moved from");
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(state_->size));
  const std::vector<std::shared_ptr<bootstrap::Bootstrap>> bootstraps = state_->begin_run();
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
  const auto start = [&](const std::shared_ptr<bootstrap::Bootstrap>& bootstrap) {
    threads.emplace_back([&, bootstrap] {
      try {
        const Device device = state_->device_of(bootstrap->rank());
        use_device(device);
        Rank rank(bootstrap, device, state_->log, state_->timeout, state_->debug, state_->trace);
        function(rank);
      } catch (...) {
        fail(*bootstrap, std::current_exception());
      }
    });
  };
  for (const auto& bootstrap : bootstraps) {
    try {
      start(bootstrap);
    } catch (const std::exception& error) {  // the ranks that have started are told, and joined below
      fail(*bootstrap,
           std::make_exception_ptr(Error(ErrorCode::out_of_memory,
                                         diagnostics::format("the system refused its thread: {}", error.what()))));
      break;
    }
  }
  for (std::thread& thread : threads) thread.join();
  {
    const std::lock_guard lock(state_->mutex);
    state_->running.clear();
  }
  if (failure) throw name_rank(failed_rank, failure);
}

void World::abort(std::string_view reason) {
  if (!state_) return;
  const std::lock_guard lock(state_->mutex);
  if (!state_->running.empty())
    state_->running.front()->abort(diagnostics::format("the world was aborted: {}", reason));
}

}  // namespace railyard
