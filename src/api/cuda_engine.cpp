// SPDX-License-Identifier: Apache-2.0
#include "api/cuda_engine.hpp"

#include "symmetric_memory/cuda_region.hpp"
#include "symmetric_memory/cuda_release_order.hpp"
#include "topology/cuda_fabric.hpp"
#include "topology/nvml.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <mutex>
#include <set>
#include <utility>

namespace railyard::api {
namespace {

using symmetric_memory::Heap;
using symmetric_memory::SymmetricHeap;

// The device sees it in pinned memory.
void raise_abort(const throughput::CudaResources& resources) {
  std::atomic_ref(resources.control()->abort).store(1, std::memory_order_release);
}

struct Retired {
  std::shared_ptr<CUevent_st> end;
  std::shared_ptr<CudaEngine> engine;
  std::unique_ptr<tuning::SmReservation> reservation;
};

class RetiredEngines {
 public:
  void add(Retired retired) {
    const std::lock_guard lock(mutex_);
    retired_.push_back(std::move(retired));
  }
  void release() {
    std::vector<Retired> ended;  // destroyed after the lock
    {
      const std::lock_guard lock(mutex_);
      const auto running = std::partition(retired_.begin(), retired_.end(), [](const Retired& retired) {
        return cudaEventQuery(retired.end.get()) == cudaErrorNotReady;
      });
      std::move(running, retired_.end(), std::back_inserter(ended));
      retired_.erase(running, retired_.end());
    }
  }

 private:
  std::mutex mutex_;
  std::vector<Retired> retired_;
};

RetiredEngines& retired_engines() {
  static auto* const engines = new RetiredEngines;  // never destroyed: CUDA may end first
  return *engines;
}

// GPUs of the group that this process does not see (CUDA_VISIBLE_DEVICES): CUDA does not answer about them, and maps
// their memory over PCIe too. Fabric handles are of NVLink.
void check_hidden_gpus(int device, const std::vector<topology::CudaIdentity>& gpus, const std::vector<int>& visible,
                       GpuHandles handles) {
  std::set<topology::CudaIdentity> hidden(gpus.begin(), gpus.end());
  for (const int seen : visible) hidden.erase(topology::identity_of(seen));
  if (hidden.empty() || handles == GpuHandles::fabric) return;
  topology::check_links(topology::loaded_nvml(), device, topology::identity_of(device), {hidden.begin(), hidden.end()});
}

}  // namespace

void CudaEngine::abort() const { raise_abort(*resources); }

void CudaEngine::end_with(bootstrap::AbortFlag& flag) {
  abort_watches.push_back(flag.watch([kept = resources] { raise_abort(*kept); }));
}

std::shared_ptr<SymmetricHeap> make_cuda_heap(bootstrap::Bootstrap& bootstrap, int device, std::size_t bytes,
                                              const GroupOptions& options,
                                              const std::vector<topology::CudaIdentity>& gpus,
                                              std::chrono::nanoseconds timeout) {
  const std::size_t limit = options.heap_limit_bytes;
  const GpuHandles handles = options.gpu_handles.value_or(GpuHandles::fd);
  const auto make = [&] {
    const std::vector<int> visible = topology::visible_devices(gpus);
    topology::check_peer_access(visible);
    check_hidden_gpus(device, gpus, visible, handles);
    topology::check_gpu_handles(device, handles);
    auto region = std::make_unique<symmetric_memory::CudaRegion>(
        device, limit, bootstrap.one_process() ? visible : std::vector<int>{device}, handles);
    return std::make_shared<Heap>(std::move(region), bytes,
                                  std::make_shared<symmetric_memory::CudaReleaseOrder>(device));
  };
  const auto map = [&] { return std::make_unique<symmetric_memory::CudaPeerMapping>(device, limit, handles); };
  return std::make_shared<SymmetricHeap>(bootstrap, bytes, symmetric_memory::HeapKind{.make = make, .map = map},
                                         timeout);
}

void retire(std::shared_ptr<CUevent_st> end, std::shared_ptr<CudaEngine> engine,
            std::unique_ptr<tuning::SmReservation> reservation) {
  retired_engines().add({std::move(end), std::move(engine), std::move(reservation)});
}

void release_retired_cuda_engines() { retired_engines().release(); }

}  // namespace railyard::api
