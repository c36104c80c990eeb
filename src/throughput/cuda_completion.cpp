// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_completion.hpp"

#include "device/cuda_call.hpp"

#include <utility>

namespace railyard::throughput {

CudaCompletion::CudaCompletion(std::shared_ptr<CudaResources> resources, bool combine,
                               std::shared_ptr<const CudaCompletion> base)
    : resources_(std::move(resources)), slot_(resources_->take_slot()), combine_(combine), base_(std::move(base)) {}

CudaCompletion::~CudaCompletion() { resources_->give_slot(slot_); }

void CudaCompletion::launched(cudaStream_t stream, bool captured) {
  captured_ = captured;
  if (captured) return;
  const cudaEvent_t event = resources_->events().record(stream);
  event_ = {event, [resources = resources_](cudaEvent_t done) {
              if (done) resources->events().recycle(done);
            }};
  if (!event_) throw Error(ErrorCode::unsupported, "CUDA refused the event that ends an operation");
}

void CudaCompletion::refuse_captured() const {
  if (!captured_) return;
  throw Error(
      ErrorCode::unsupported,
      "the operation was captured into a graph and has no end of its own; synchronize the stream that the graph "
      "is launched on");
}

bool CudaCompletion::done() const {
  refuse_captured();
  const device::UseDevice current(resources_->device);
  const cudaError_t error = cudaEventQuery(event_.get());
  if (error == cudaErrorNotReady) return false;
  device::require_cuda(error, "an operation's end");
  return true;
}

void CudaCompletion::synchronize() const {
  refuse_captured();
  const device::UseDevice current(resources_->device);
  device::require_cuda(cudaEventSynchronize(event_.get()), "an operation's end");
  if (has_failed()) throw resources_->failure_of(combine_, combine_ ? slot_->combine.epoch : slot_->dispatch.epoch);
}

bool CudaCompletion::has_failed() const noexcept {
  return (combine_ ? slot_->combine.wait_code : slot_->dispatch.wait_code) != 0;
}

const Status& CudaCompletion::status() const {
  const std::lock_guard lock(mutex_);
  if (known_ && !captured_) return status_;
  if (!captured_) synchronize();
  Status status = combine_ ? slot_->combine.status : slot_->dispatch.status;
  if (status.ok() && base_) status = base_->status();
  status_ = status;
  known_ = true;
  return status_;
}

}  // namespace railyard::throughput
