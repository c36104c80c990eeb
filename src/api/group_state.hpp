// SPDX-License-Identifier: Apache-2.0
// What a Group, and the operations it has pending, share.
#pragma once

#include "api/validation.hpp"
#include "bootstrap/bootstrap.hpp"
#include "low_latency/host_dispatch.hpp"
#include "throughput/host_combine.hpp"
#include "throughput/host_dispatch.hpp"
#include "transports/dispatch_operation.hpp"
#include "transports/peer_exchange.hpp"

#include <railyard/group.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace railyard {

/// Operations of one kind between their send and their receive part, oldest first. A ticket counts them.
template <typename Operation>
class PendingRing {
 public:
  explicit PendingRing(int capacity) : operations_(static_cast<std::size_t>(capacity)) {}
  [[nodiscard]] bool full() const noexcept { return newest_ - oldest_ == operations_.size(); }
  [[nodiscard]] bool empty() const noexcept { return newest_ == oldest_; }
  [[nodiscard]] std::size_t size() const noexcept { return newest_ - oldest_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return operations_.size(); }
  [[nodiscard]] std::uint64_t newest() const noexcept { return newest_; }
  [[nodiscard]] std::uint64_t oldest() const noexcept { return oldest_; }
  [[nodiscard]] Operation& next() noexcept { return operations_[newest_ % operations_.size()]; }
  [[nodiscard]] Operation& front() noexcept { return operations_[oldest_ % operations_.size()]; }
  std::uint64_t push() noexcept { return newest_++; }
  void pop() noexcept { ++oldest_; }

 private:
  std::vector<Operation> operations_;
  std::uint64_t oldest_ = 0;
  std::uint64_t newest_ = 0;
};

class GroupState : public std::enable_shared_from_this<GroupState> {
 public:
  GroupState(Rank& rank, GroupOptions complete_options);

  [[nodiscard]] std::uint64_t send(transports::DispatchRequest&& request);
  [[nodiscard]] Dispatched receive_dispatch(std::uint64_t ticket);
  [[nodiscard]] std::uint64_t send(throughput::CombineRequest&& request);
  [[nodiscard]] Combined receive_combine(std::uint64_t ticket);

  /// Throws RY-SUSPENDED once the group is.
  void check_active() const;
  /// A pending part was dropped.
  void abandon(std::string_view operation) noexcept;
  void abort(std::string_view reason) { abort_->raise(reason); }

  [[nodiscard]] api::GroupFacts facts() const;
  [[nodiscard]] Tensor allocate(std::initializer_list<std::int64_t> shape, DType dtype);
  void grow_heap(std::size_t bytes);
  [[nodiscard]] GroupStatistics statistics() const;

  const GroupOptions options;
  const int rank;
  const int size;

  [[nodiscard]] transports::Waiter& waiter() noexcept { return exchange_.waiter(); }
  [[nodiscard]] const PendingRing<transports::DispatchOperation>& dispatches() const noexcept { return dispatches_; }
  [[nodiscard]] const PendingRing<throughput::CombineOperation>& combines() const noexcept { return combines_; }

 private:
  template <typename Part>
  auto guarded(Part part);
  void suspend(std::string reason) noexcept;

  std::shared_ptr<bootstrap::Bootstrap> bootstrap_;
  std::shared_ptr<diagnostics::Log> log_;
  std::shared_ptr<bootstrap::AbortFlag> abort_;
  std::shared_ptr<symmetric_memory::SymmetricHeap> heap_;
  transports::PeerExchange exchange_;
  std::shared_ptr<routing::RoutePool> routes_;
  transports::DispatchSteps steps_;
  throughput::HostDispatch throughput_dispatch_;
  std::optional<low_latency::HostDispatch> low_latency_dispatch_;
  throughput::HostCombine combine_;
  PendingRing<transports::DispatchOperation> dispatches_;
  PendingRing<throughput::CombineOperation> combines_;
  GroupStatistics statistics_;
  bool suspended_ = false;
  std::string suspension_;
};

}  // namespace railyard
