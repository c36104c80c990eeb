// SPDX-License-Identifier: Apache-2.0
#include "api/cuda_order.hpp"

#include "device/cuda_call.hpp"
#include "device/cuda_driver.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <thread>

namespace railyard::api {
namespace {

// How far a rank that shares its GPU with others of its process may be ahead of the device.
constexpr std::size_t kRunAhead = 16;

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }

}  // namespace

void CudaOrder::check_stream(Stream stream) const {
  if (native(stream) == cudaStreamPerThread) {
    throw Error(ErrorCode::invalid_argument,
                "cudaStreamPerThread, which is another stream in every thread; leases and events may be used in any: "
                "pass a stream of your own");
  }
  if (ranks_here_ == 1 || (stream.native() && native(stream) != cudaStreamLegacy)) return;
  throw Error(ErrorCode::invalid_argument,
              diagnostics::format("the default stream, with {} ranks on cuda:{}; it orders their kernels, which wait "
                                  "for each other: give each rank a stream made with cudaStreamNonBlocking",
                                  ranks_here_, device_));
}

void CudaOrder::check_device_of(Stream stream) const {
  if (!stream.native()) return;
  const int owner = device::device_of(native(stream));
  if (owner != device_) {
    throw Error(ErrorCode::invalid_argument,
                diagnostics::format("a stream of cuda:{}; rank {} is on cuda:{}", owner, rank_, device_));
  }
}

bool CudaOrder::enter(Stream stream, std::chrono::nanoseconds timeout, const std::function<bool()>& is_over) {
  check_stream(stream);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long capture = 0;
  device::require_cuda(cudaStreamGetCaptureInfo(native(stream), &status, &capture), "asking about a capture");
  if (status == cudaStreamCaptureStatusInvalidated) {
    throw Error(ErrorCode::unsupported, "the stream's capture has been invalidated by an earlier call; end it first");
  }
  const bool capturing = status == cudaStreamCaptureStatusActive;
  capture_ = capturing ? capture : 0;
  if (!capturing) {
    check_device_of(stream);  // CUDA does not answer about a stream that is captured
    bound_run_ahead(timeout, is_over);
  }
  return capturing;
}

// Ranks that share a context share its queue of launches. A thread that finds it full waits in the driver, and keeps
// the others of the context from submitting what its own kernels wait for.
void CudaOrder::bound_run_ahead(std::chrono::nanoseconds timeout, const std::function<bool()>& is_over) {
  if (ranks_here_ == 1 || ahead_.size() < kRunAhead) return;
  const auto start = std::chrono::steady_clock::now();
  while (cudaEventQuery(ahead_.front().get()) == cudaErrorNotReady && !is_over()) {
    if (std::chrono::steady_clock::now() - start > timeout) {
      throw Error(
          ErrorCode::timeout,
          diagnostics::format("rank {}: the operation of {} calls before has not ended on cuda:{}, which {} "
                              "ranks of this process share; peers, or other work on its stream, must come first",
                              rank_, kRunAhead, device_, ranks_here_));
    }
    std::this_thread::yield();
  }
  ahead_.pop_front();
}

void CudaOrder::follow(Stream stream) const {
  if (capture_ != 0) {
    if (captured_end_ && captured_in_ == capture_ && captured_on_ != stream) {
      device::require_cuda(cudaStreamWaitEvent(native(stream), captured_end_.get(), 0), "ordering operations");
    }
  } else if (latest_ && latest_on_ != stream) {
    device::require_cuda(cudaStreamWaitEvent(native(stream), latest_.get(), 0), "ordering operations");
  }
}

void CudaOrder::leave(Stream stream, const std::shared_ptr<throughput::CudaCompletion>& completion,
                      const std::shared_ptr<throughput::CudaResources>& resources) {
  completion->launched(native(stream), capture_ != 0);
  if (capture_ == 0) {
    latest_ = completion->event();
    latest_completion_ = completion;
    latest_on_ = stream;
    if (ranks_here_ > 1) ahead_.push_back(latest_);
    return;
  }
  captured_end_.reset();
  captured_end_ = {resources->events().record(native(stream)), [resources](cudaEvent_t event) {
                     if (event) resources->events().recycle(event);
                   }};
  if (!captured_end_) throw Error(ErrorCode::unsupported, "CUDA refused the event that ends a captured operation");
  captured_in_ = capture_;
  captured_on_ = stream;
}

void CudaOrder::join(Stream received_on, const throughput::CudaCompletion& completion) const {
  const auto event = completion.captured() ? captured_end_.get() : static_cast<cudaEvent_t>(completion.native());
  device::require_cuda(cudaStreamWaitEvent(native(received_on), event, 0), "receiving an operation");
}

bool CudaOrder::has_ended() const { return !latest_ || cudaEventQuery(latest_.get()) != cudaErrorNotReady; }

// What fails once fails ever after: the latest tells of all.
bool CudaOrder::has_lost(const throughput::CudaResources& resources) const {
  return latest_completion_ && latest_completion_->has_failed() && !resources.has_told();
}

void CudaOrder::reset() noexcept {
  latest_.reset();
  latest_completion_.reset();
  ahead_.clear();
  captured_end_.reset();
}

}  // namespace railyard::api
