// SPDX-License-Identifier: Apache-2.0
// A route that a GPU makes: its memory there, and its counts on the host once they are known.
#pragma once

#include "routing/route_state.hpp"
#include "throughput/cuda_completion.hpp"
#include "throughput/cuda_launch.hpp"

#include <railyard/lease.hpp>
#include <railyard/tensor.hpp>

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace railyard::throughput {

class CudaRouteState final : public routing::RouteState {
 public:
  /// Throws what ended the operation that makes it.
  void wait() override;
  /// The counts are read from the device only when somebody asks: at the end of a dispatch everybody would wait for
  /// them. Throws as wait, and as device::ReadBack.
  void wait_for_expert_counts() override;
  [[nodiscard]] bool counts_are_fixed() const override { return !completion->captured(); }
  [[nodiscard]] Tensor device_expert_counts() override { return device_counts; }

  CudaRoute device;  // in `memory`
  Lease memory;
  Tensor device_counts;  // in the metadata block, like expert_ids and origins
  std::shared_ptr<CudaCompletion> completion;
  int num_ranks = 0;
  int local_experts = 0;
  bool exhausted = false;  // no block was granted here

 private:
  friend class CudaRoutePool;
  void wait_locked();
  void read_results();

  std::mutex mutex_;
  bool known_ = false;
  bool counts_known_ = false;
};

/// One group's routes. Thread-safe.
class CudaRoutePool final : public routing::RouteOwner, public std::enable_shared_from_this<CudaRoutePool> {
 public:
  [[nodiscard]] CudaRouteState* take();
  void give_back(routing::RouteState& state) noexcept override;

 private:
  std::mutex mutex_;
  std::deque<CudaRouteState> states_;
  std::vector<CudaRouteState*> idle_;
};

}  // namespace railyard::throughput
