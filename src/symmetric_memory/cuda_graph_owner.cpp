// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/cuda_graph_owner.hpp"

#include "device/cuda_call.hpp"

#include <mutex>
#include <utility>
#include <vector>

namespace railyard::symmetric_memory {
namespace {

// The only state of the process here: a graph may outlive every group.
struct Ended {
  std::mutex mutex;
  std::vector<std::shared_ptr<void>> objects;
};

Ended& ended() {
  static auto* const list = new Ended;  // never destroyed: graphs may end while the process does
  return *list;
}

void CUDART_CB end(void* held) {
  const std::unique_ptr<std::shared_ptr<void>> objects(static_cast<std::shared_ptr<void>*>(held));
  const std::lock_guard lock(ended().mutex);
  ended().objects.push_back(std::move(*objects));
}

}  // namespace

void keep_in_graph(cudaStream_t stream, std::shared_ptr<void> objects) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaGraph_t graph = nullptr;
#if CUDART_VERSION >= 13000
  device::require_cuda(cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph, nullptr, nullptr, nullptr),
#else
  device::require_cuda(cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, &graph, nullptr, nullptr),
#endif
                       "asking for the graph that is captured");
  auto held = std::make_unique<std::shared_ptr<void>>(std::move(objects));
  cudaUserObject_t owner = nullptr;
  device::require_cuda(cudaUserObjectCreate(&owner, held.get(), end, 1, cudaUserObjectNoDestructorSync),
                       "giving leases to a graph");
  static_cast<void>(held.release());
  device::require_cuda(cudaGraphRetainUserObject(graph, owner, 1, cudaGraphUserObjectMove), "giving leases to a graph");
}

void release_from_graphs() noexcept {
  std::vector<std::shared_ptr<void>> objects;  // destroyed after the lock
  const std::lock_guard lock(ended().mutex);
  objects.swap(ended().objects);
}

}  // namespace railyard::symmetric_memory
