// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_pinned_memory.hpp"

#include "device/cuda_call.hpp"

#include <map>
#include <mutex>
#include <vector>

namespace railyard::device {
namespace {

class PinnedMemory {
 public:
  std::shared_ptr<void> take(std::size_t bytes) {
    void* memory = nullptr;
    {
      const std::lock_guard lock(mutex_);
      std::vector<void*>& idle = idle_[bytes];
      if (!idle.empty()) {
        memory = idle.back();
        idle.pop_back();
      }
    }
    if (!memory) {
      require_cuda(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped), "pinning memory");
    }
    return {memory, [this, bytes](void* block) {
              const std::lock_guard lock(mutex_);
              idle_[bytes].push_back(block);
            }};
  }

 private:
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> idle_;  // by bytes
};

}  // namespace

std::shared_ptr<void> take_pinned_memory(std::size_t bytes) {
  static auto* const memory = new PinnedMemory;  // never destroyed: CUDA may end first
  return memory->take(bytes);
}

}  // namespace railyard::device
