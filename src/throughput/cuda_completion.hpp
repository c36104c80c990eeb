// SPDX-License-Identifier: Apache-2.0
// The end of one CUDA operation: its event, and its results in pinned memory.
#pragma once

#include "throughput/cuda_resources.hpp"

#include <railyard/stream.hpp>

#include <memory>
#include <mutex>

namespace railyard::throughput {

class CudaCompletion final : public Completion {
 public:
  /// `base`: the operation that made the route, whose status stands if this one adds none; null if this one makes it.
  CudaCompletion(std::shared_ptr<CudaResources> resources, bool combine, std::shared_ptr<const CudaCompletion> base);
  ~CudaCompletion() override;
  CudaCompletion(const CudaCompletion&) = delete;
  CudaCompletion& operator=(const CudaCompletion&) = delete;

  /// The operation was submitted to this stream just now. Throws RY-UNSUPPORTED if CUDA refuses the event.
  void launched(cudaStream_t stream, bool captured);

  [[nodiscard]] bool done() const override;
  void synchronize() const override;
  [[nodiscard]] const Status& status() const override;
  [[nodiscard]] void* native() const noexcept override { return event_.get(); }
  /// Null for a captured operation.
  [[nodiscard]] const std::shared_ptr<CUevent_st>& event() const noexcept { return event_; }

  [[nodiscard]] CudaResultSlot& slot() const noexcept { return *slot_; }
  /// Once it has ended, outside captures: whether its group had failed.
  [[nodiscard]] bool has_failed() const noexcept;
  [[nodiscard]] CudaResources& resources() const noexcept { return *resources_; }
  [[nodiscard]] bool captured() const noexcept { return captured_; }

 private:
  void refuse_captured() const;

  std::shared_ptr<CudaResources> resources_;
  CudaResultSlot* slot_;
  bool combine_;
  bool captured_ = false;
  std::shared_ptr<const CudaCompletion> base_;
  std::shared_ptr<CUevent_st> event_;
  mutable std::mutex mutex_;
  mutable Status status_;
  mutable bool known_ = false;
};

}  // namespace railyard::throughput
