// SPDX-License-Identifier: Apache-2.0
// What the operations of a CUDA group need on the host, and what may outlive the group with them: pinned memory that
// kernels write to, and events.
#pragma once

#include "bootstrap/abort_flag.hpp"
#include "device/cuda_event_pool.hpp"
#include "device/cuda_read_back.hpp"
#include "throughput/cuda_launch.hpp"

#include <railyard/error.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace railyard::throughput {

/// One operation's results in pinned memory.
struct CudaResultSlot {
  CudaDispatchResult dispatch;
  CudaCombineResult combine;
  // int32 [local experts] follows.
  [[nodiscard]] std::int32_t* expert_counts() noexcept { return reinterpret_cast<std::int32_t*>(this + 1); }
};

/// Thread-safe. Shared by the group, its routes and its events.
class CudaResources {
 public:
  using AbortFlags = std::array<std::shared_ptr<bootstrap::AbortFlag>, 2>;
  /// On the current device. `aborts` say why a wait was ended: the group's, and the world's. Throws RY-OUT-OF-MEMORY.
  CudaResources(int rank, int device, int local_experts, AbortFlags aborts);
  ~CudaResources() = default;
  CudaResources(const CudaResources&) = delete;
  CudaResources& operator=(const CudaResources&) = delete;

  const int rank;
  const int device;
  const int local_experts;

  /// Cleared.
  [[nodiscard]] CudaResultSlot* take_slot();
  void give_slot(CudaResultSlot* slot) noexcept;
  [[nodiscard]] device::CudaEventPool& events() noexcept { return events_; }
  /// As ReadBack::read.
  void read_back(const void* memory, void* pinned, std::size_t bytes, const char* what);
  [[nodiscard]] CudaHostControl* control() const noexcept { return control_; }
  [[nodiscard]] CudaWaitReport* report() const noexcept { return report_; }

  /// What ended the group's waits without the peers, as a sentence; empty if nothing has.
  [[nodiscard]] std::string failure() const;
  /// Whether a launch came after the failure, since `forget_refusal`.
  [[nodiscard]] bool has_refused() const noexcept;
  void forget_refusal() noexcept;
  /// The same as `failure`, as an error, for the operation with this epoch; RY-SUSPENDED if an earlier one failed.
  [[nodiscard]] Error failure_of(bool combine, std::uint64_t epoch) const;
  /// Whether failure_of has been called.
  [[nodiscard]] bool has_told() const noexcept { return told_.load(std::memory_order_relaxed); }

 private:
  void add_slots(std::size_t count);
  [[nodiscard]] std::string abort_reason() const;

  AbortFlags aborts_;
  device::CudaEventPool events_;
  device::ReadBack read_back_;
  std::vector<std::shared_ptr<void>> pinned_;
  CudaHostControl* control_ = nullptr;
  CudaWaitReport* report_ = nullptr;
  mutable std::atomic<bool> told_{false};
  std::mutex mutex_;
  std::vector<CudaResultSlot*> idle_;
  std::size_t num_slots_ = 0;
};

}  // namespace railyard::throughput
