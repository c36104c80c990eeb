// SPDX-License-Identifier: Apache-2.0
// What a Group, and the operations it has pending, share: one class for each kind of device.
#pragma once

#include "api/membership.hpp"
#include "api/validation.hpp"
#include "bootstrap/bootstrap.hpp"
#include "diagnostics/log.hpp"
#include "diagnostics/trace.hpp"
#include "transports/combine_request.hpp"
#include "transports/dispatch_operation.hpp"

#include <railyard/group.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace railyard {

/// Send parts count up; their tickets are received in that order. A ring of operations has a slot for each.
struct PendingCounts {
  std::uint64_t oldest = 0;
  std::uint64_t newest = 0;
  [[nodiscard]] std::size_t size() const noexcept { return newest - oldest; }
};

class GroupState : public std::enable_shared_from_this<GroupState> {
 public:
  /// Everything of `complete_options` has been compared with the peers.
  GroupState(Rank& rank, GroupOptions complete_options);
  virtual ~GroupState() = default;
  GroupState(const GroupState&) = delete;
  GroupState& operator=(const GroupState&) = delete;

  /// A whole operation. What ends the group meanwhile ends its waits, like those of a part.
  [[nodiscard]] Dispatched run(transports::DispatchRequest&& request, Stream stream);
  [[nodiscard]] Combined run(transports::CombineRequest&& request, Stream stream);
  [[nodiscard]] std::uint64_t send(transports::DispatchRequest&& request, Stream stream);
  [[nodiscard]] Dispatched receive_dispatch(std::uint64_t ticket, Stream stream);
  [[nodiscard]] std::uint64_t send(transports::CombineRequest&& request, Stream stream);
  [[nodiscard]] Combined receive_combine(std::uint64_t ticket, Stream stream);

  /// Throws RY-SUSPENDED once the group is; RY-MASKED if it goes on without this rank.
  void check_active();
  /// Before an operation: recovers the group if it is suspended and its policy says so, then as check_active.
  void prepare_operation();
  [[nodiscard]] bool is_suspended();
  [[nodiscard]] const Recovery& last_recovery() const noexcept { return last_recovery_; }
  /// Group::recover.
  Recovery recover();
  /// Group::rejoin.
  Recovery rejoin();
  [[nodiscard]] std::vector<int> masked_ranks() const { return membership_.masked(); }
  /// A handle of a send part is there, or has been received.
  void hold_part() noexcept { ++held_parts_; }
  void release_part() noexcept { --held_parts_; }
  /// A pending part was dropped.
  void abandon_dispatch(std::uint64_t ticket) noexcept { abandon(dispatches_, ticket, "dispatch"); }
  void abandon_combine(std::uint64_t ticket) noexcept { abandon(combines_, ticket, "combine"); }
  void abort(std::string_view reason);

  [[nodiscard]] virtual api::GroupFacts facts() const = 0;
  [[nodiscard]] Tensor allocate(std::initializer_list<std::int64_t> shape, DType dtype, Stream stream);
  void grow_heap(std::size_t bytes);
  virtual void set_timeout(std::chrono::nanoseconds timeout) = 0;
  [[nodiscard]] virtual GroupStatistics statistics();
  [[nodiscard]] virtual WaitStatistics wait_statistics() const = 0;
  virtual void set_wait_statistics(bool) {}

  const GroupOptions options;
  const int rank;
  const int size;
  const Device device;

  [[nodiscard]] const PendingCounts& dispatches() const noexcept { return dispatches_; }
  [[nodiscard]] const PendingCounts& combines() const noexcept { return combines_; }

 protected:
  /// Everything that may be refused without a trace. `slot` is free: it counts modulo max_in_flight.
  virtual void prepare_dispatch(std::size_t slot, transports::DispatchRequest&& request, Stream stream) = 0;
  virtual void start_dispatch(std::size_t slot) = 0;
  [[nodiscard]] virtual Dispatched finish_dispatch(std::size_t slot, Stream stream) = 0;
  virtual void prepare_combine(std::size_t slot, transports::CombineRequest&& request, Stream stream) = 0;
  virtual void start_combine(std::size_t slot) = 0;
  [[nodiscard]] virtual Combined finish_combine(std::size_t slot, Stream stream) = 0;
  /// Refuses a receive part on this stream, before anything is received.
  virtual void check_receive_dispatch(std::size_t, Stream) const {}
  virtual void check_receive_combine(std::size_t, Stream) const {}
  /// For Group::allocate; empty if there is no room.
  [[nodiscard]] virtual Lease allocate_block(std::size_t bytes, Stream stream) {
    return heap().allocate(bytes, stream);
  }
  /// For Group::grow_heap; collective where peers map what was taken.
  virtual void prepare_growth(std::size_t bytes) { heap().prepare_growth(bytes); }
  /// Whether a recovery found operations whose calls had returned and which came to nothing, and no error said so yet.
  [[nodiscard]] virtual bool take_lost() { return false; }
  /// Why the device has suspended the group, or nothing.
  [[nodiscard]] virtual std::string device_failure() { return {}; }
  [[nodiscard]] virtual symmetric_memory::Heap& heap() const noexcept = 0;
  [[nodiscard]] virtual std::chrono::nanoseconds timeout() noexcept = 0;
  /// What this rank brings to a recovery: all but the last two. Called with every wait aborted; when it returns nothing
  /// of this rank runs any more.
  [[nodiscard]] virtual api::Standing standing() = 0;
  /// Collective, of the ranks that go on: everything that they share anew, under `abort_`. No late word can be taken
  /// for one of now: a masked rank, and an operation that was interrupted, know only memory of before, and the heap of
  /// now is no part of it. The epoch goes on from the largest that a member has begun, so that messages and traces name
  /// none twice. What a masked rank still writes lands in the old heap, of which no byte is handed out again, and which
  /// it keeps alive itself.
  virtual void rebuild(const api::Standing& agreed, const std::shared_ptr<bootstrap::Bootstrap>& members) = 0;

  void suspend(std::string reason) noexcept;
  [[nodiscard]] std::uint64_t finished_dispatches() const noexcept { return finished_dispatches_; }
  [[nodiscard]] std::uint64_t finished_combines() const noexcept { return finished_combines_; }

  std::shared_ptr<bootstrap::Bootstrap> bootstrap_;
  std::shared_ptr<diagnostics::Log> log_;
  api::Membership membership_;
  std::shared_ptr<bootstrap::Bootstrap> members_;  // of the ranks that are not masked, numbered among them
  std::shared_ptr<bootstrap::AbortFlag> world_abort_;
  std::shared_ptr<bootstrap::AbortFlag> abort_;     // renewed by recoveries, under abort_mutex_
  std::shared_ptr<diagnostics::TraceTrack> trace_;  // or null
  GroupStatistics statistics_;

 private:
  /// Of whoever has ended the group's waits.
  [[nodiscard]] std::optional<std::string> raised_reason() const;
  Recovery go_on(bool joins);
  /// Why the group stays suspended, after an attempt to recover it.
  void stay_suspended(const Error& error, bool masked);
  /// From here on `abort` raises another flag, which is returned.
  std::shared_ptr<bootstrap::AbortFlag> renew_abort();
  /// The group works again: what was pending is forgotten.
  void resume(const Recovery& recovery);
  template <typename Part>
  auto guarded(Part part);
  void abandon(const PendingCounts& pending, std::uint64_t ticket, std::string_view operation) noexcept;
  void check_ticket(const PendingCounts& pending, std::uint64_t ticket, std::string_view operation) const;
  Dispatched finish_dispatch_part(std::uint64_t ticket, Stream stream);
  Combined finish_combine_part(std::uint64_t ticket, Stream stream);

  PendingCounts dispatches_;
  PendingCounts combines_;
  int held_parts_ = 0;  // handles, of parts that a recovery has forgotten too
  std::uint64_t finished_dispatches_ = 0;
  std::uint64_t finished_combines_ = 0;
  bool suspended_ = false;
  bool masked_ = false;  // this rank
  Recovery last_recovery_;
  std::string suspension_;
  std::mutex abort_mutex_;
};

namespace api {

[[nodiscard]] std::chrono::nanoseconds deadline_of(const Rank& rank, const GroupOptions& options);

/// Collective: the group of the rank's device.
[[nodiscard]] std::shared_ptr<GroupState> make_host_group(Rank& rank, const GroupOptions& complete_options);
#ifdef RAILYARD_CUDA
[[nodiscard]] std::shared_ptr<GroupState> make_cuda_group(Rank& rank, const GroupOptions& complete_options);
#endif

}  // namespace api

}  // namespace railyard
