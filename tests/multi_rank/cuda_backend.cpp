// SPDX-License-Identifier: Apache-2.0
// Ranks on the GPUs of this machine, in turn, as threads or as processes. Threads allocate everything before they run,
// and copies wait for their own stream alone: what synchronises a device would wait for kernels that wait for this
// rank.
#include "multi_rank/backend.hpp"
#include "multi_rank/process_world.hpp"
#include "symmetric_memory/block_allocator.hpp"

#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace railyard::multi_rank {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{4} << 30;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

/// Waits for the calling thread's streams.
void wait_for_this_thread();

/// Memory and streams of one device.
class Arena {
 public:
  explicit Arena(int device) {
    check(cudaSetDevice(device), "using a device");
    void* memory = nullptr;
    check(cudaMalloc(&memory, kArenaBytes), "allocating an arena");
    base_ = static_cast<std::byte*>(memory);
    blocks_.grow(kArenaBytes);
  }

  std::shared_ptr<std::byte> take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto offset = blocks_.allocate(bytes);
    if (!offset) throw std::runtime_error("the test's arena is too small for " + std::to_string(bytes) + " bytes");
    return {base_ + *offset, [this, offset = *offset, bytes](std::byte*) {
              wait_for_this_thread();  // what it called last may still use the bytes
              const std::lock_guard give(mutex_);
              blocks_.release(offset, bytes);
            }};
  }

  cudaStream_t take_stream() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) {
      cudaStream_t stream = nullptr;
      check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
      return stream;
    }
    cudaStream_t const stream = idle_.back();
    idle_.pop_back();
    return stream;
  }

  void give_stream(cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(stream);
  }

 private:
  std::mutex mutex_;
  std::byte* base_ = nullptr;
  symmetric_memory::BlockAllocator blocks_;
  std::vector<cudaStream_t> idle_;  // never destroyed: leases remember the streams that used them
};

// One stream for each thread and device, that of its rank, so that copies come after the rank's operations.
struct ThreadStream {
  Arena* arena = nullptr;
  cudaStream_t stream = nullptr;
  ThreadStream() = default;
  ThreadStream(const ThreadStream&) = delete;
  ThreadStream& operator=(const ThreadStream&) = delete;
  ~ThreadStream() {
    if (arena) arena->give_stream(stream);
  }
};

std::map<int, ThreadStream>& streams() {
  thread_local std::map<int, ThreadStream> mine;
  return mine;
}

void wait_for_this_thread() {
  for (const auto& [device, mine] : streams()) static_cast<void>(cudaStreamSynchronize(mine.stream));
}

// Reads no CUDA before its first use: a process that has used CUDA cannot be forked.
class CudaBackend : public Backend {
 public:
  explicit CudaBackend(int (*count_devices)()) {
    // Before CUDA starts; what the caller has set stays.
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    setenv("CUDA_MODULE_LOADING", "EAGER", 0);
    devices_ = count_devices();
    if (devices_ == 0) throw std::runtime_error("the chosen backend needs a GPU, and there is none");
  }

  DeviceKind device_kind() const override { return DeviceKind::cuda; }

  std::shared_ptr<std::byte> allocate(Device device, std::size_t bytes) override {
    return arena(device.index).take(bytes);
  }
  void copy_to_device(void* device, const void* host, std::size_t bytes) override { copy(device, host, bytes); }
  void copy_to_host(void* host, const void* device, std::size_t bytes) override { copy(host, device, bytes); }
  Stream stream(Device device) override { return Stream(stream_of(device.index)); }

  WorldOptions with_devices(WorldOptions options) override {
    for (int device = 0; device < devices_; ++device) options.devices.push_back({DeviceKind::cuda, device});
    return options;
  }

 protected:
  int devices_ = 0;

  Arena& arena(int device) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<Arena>& arena = arenas_[device];
    if (!arena) arena = std::make_unique<Arena>(device);
    return *arena;
  }

 private:
  cudaStream_t stream_of(int device) {
    ThreadStream& mine = streams()[device];
    if (!mine.arena) {
      mine.arena = &arena(device);
      mine.stream = mine.arena->take_stream();
    }
    return mine.stream;
  }

  void copy(void* to, const void* from, std::size_t bytes) {
    int device = 0;
    check(cudaGetDevice(&device), "the current device");
    cudaStream_t const stream = stream_of(device);
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "copying");
    check(cudaStreamSynchronize(stream), "copying");
  }

  std::mutex mutex_;
  std::map<int, std::unique_ptr<Arena>> arenas_;
};

int count_devices() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

// The caller uses no CUDA.
int count_devices_in_child() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(count_devices());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

class CudaThreads final : public CudaBackend {
 public:
  CudaThreads() : CudaBackend(count_devices) {
    for (int device = 0; device < devices_; ++device) arena(device);  // before any rank runs
  }

  std::string_view name() const override { return "cuda-threads"; }
  int max_ranks() const override { return 8 * devices_; }
  World make_world(int ranks, WorldOptions options) override {
    return World::threads(ranks, with_devices(std::move(options)));
  }
};

/// A process for each rank. As many ranks as GPUs; two where there is one GPU, which then takes turns. With
/// RAILYARD_TEST_ONE_VISIBLE_GPU each process sees its own GPU alone, as some launchers start it.
class CudaProcesses final : public CudaBackend {
 public:
  CudaProcesses() : CudaBackend(count_devices_in_child) {}

  std::string_view name() const override { return "cuda-processes"; }
  int max_ranks() const override { return std::max(2, devices_); }
  World make_world(int, WorldOptions) override {
    throw std::logic_error("no process has all ranks of a world of processes");
  }
  void run(int ranks, WorldOptions options, const std::function<void(Rank&)>& body, Report& report) override {
    if (std::getenv("RAILYARD_TEST_ONE_VISIBLE_GPU") == nullptr) {
      return run_processes(ranks, with_devices(std::move(options)), body, report);
    }
    run_processes(ranks, options, body, report, [this](int rank, WorldOptions& own) {
      setenv("CUDA_VISIBLE_DEVICES", std::to_string(rank % devices_).c_str(), 1);
      own.devices = {{DeviceKind::cuda, 0}};
    });
  }
};

}  // namespace

Backend& cuda_threads() {
  static auto* const backend = new CudaThreads;  // CUDA ends before static objects do
  return *backend;
}

Backend& cuda_processes() {
  static CudaProcesses processes;
  return processes;
}

}  // namespace railyard::multi_rank
