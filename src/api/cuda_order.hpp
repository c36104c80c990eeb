// SPDX-License-Identifier: Apache-2.0
// The operations of a CUDA group run one after the other, in call order, whatever the streams: an operation on another
// stream than the one before waits for that one's event. Within a capture the event is a captured one; between a graph
// and other work the caller orders, as for any graph.
#pragma once

#include "throughput/cuda_completion.hpp"

#include <railyard/stream.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>

struct CUevent_st;

namespace railyard::api {

/// At one rank; the device is current in every call that takes a stream. Errors name the rank.
class CudaOrder {
 public:
  CudaOrder(int rank, int device) : rank_(rank), device_(device) {}

  /// That are on this device in this process, with this one.
  void set_ranks_here(std::ptrdiff_t ranks) noexcept { ranks_here_ = ranks; }

  /// Refuses a stream that orders other ranks' kernels too: RY-INVALID-ARGUMENT.
  void check_stream(Stream stream) const;
  /// Begins an operation: refuses its stream (as above, one of another device, one whose capture is broken), or waits
  /// up to `timeout` for an operation long before it (RY-TIMEOUT), or until `is_over()`. Returns whether the stream is
  /// being captured.
  [[nodiscard]] bool enter(Stream stream, std::chrono::nanoseconds timeout, const std::function<bool()>& is_over);
  /// Later work on the operation's stream comes after the operation before.
  void follow(Stream stream) const;
  /// The operation was submitted just now. Throws RY-UNSUPPORTED if CUDA refuses an event.
  void leave(Stream stream, const std::shared_ptr<throughput::CudaCompletion>& completion,
             const std::shared_ptr<throughput::CudaResources>& resources);
  /// Later work on the receive part's stream comes after the operation.
  void join(Stream received_on, const throughput::CudaCompletion& completion) const;

  [[nodiscard]] bool is_capturing() const noexcept { return capture_ != 0; }
  /// Whether the latest operation outside captures has ended, and its event; null before the first.
  [[nodiscard]] bool has_ended() const;
  /// Once that has ended: whether it came to nothing, and the caller has got no error that says so.
  [[nodiscard]] bool has_lost(const throughput::CudaResources& resources) const;
  [[nodiscard]] const std::shared_ptr<CUevent_st>& latest() const noexcept { return latest_; }
  /// Everything has ended: what comes follows nothing.
  void reset() noexcept;

 private:
  void bound_run_ahead(std::chrono::nanoseconds timeout, const std::function<bool()>& is_over);
  void check_device_of(Stream stream) const;

  const int rank_;
  const int device_;
  std::ptrdiff_t ranks_here_ = 1;
  std::shared_ptr<CUevent_st> latest_;
  std::shared_ptr<throughput::CudaCompletion> latest_completion_;
  Stream latest_on_;
  std::deque<std::shared_ptr<CUevent_st>> ahead_;  // ends of the latest operations, where ranks share the GPU
  unsigned long long capture_ = 0;                 // of the operation under way; 0: none
  std::shared_ptr<CUevent_st> captured_end_;       // the latest operation inside one
  unsigned long long captured_in_ = 0;
  Stream captured_on_;
};

}  // namespace railyard::api
