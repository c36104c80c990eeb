// SPDX-License-Identifier: Apache-2.0
#include "api/group_state.hpp"

#include "api/group_options.hpp"
#include "api/require.hpp"
#include "diagnostics/nvtx_range.hpp"

#include <fmt/ranges.h>

#include <exception>
#include <utility>
#include <vector>

namespace railyard {

using transports::Operation;

std::chrono::nanoseconds api::deadline_of(const Rank& rank, const GroupOptions& options) {
  return options.timeout.count() > 0 ? options.timeout : rank.timeout();
}

GroupState::GroupState(Rank& owner, GroupOptions complete_options)
    : options(std::move(complete_options)),
      rank(owner.index()),
      size(owner.world_size()),
      device(owner.device()),
      bootstrap_(owner.bootstrap()),
      log_(owner.log()),
      membership_(rank, bootstrap_),
      members_(bootstrap_),
      world_abort_(bootstrap_->survivor_flag()),
      abort_(std::make_shared<bootstrap::AbortFlag>()) {}

void GroupState::check_active() {
  if (!suspended_) {
    if (std::string failure = device_failure(); !failure.empty()) suspend(std::move(failure));
  }
  if (suspended_) {
    throw Error(masked_ ? ErrorCode::masked : ErrorCode::suspended,
                diagnostics::format("rank {}: the group is suspended: {}", rank, suspension_));
  }
  if (const std::optional<std::string> reason = raised_reason()) {
    throw Error(ErrorCode::suspended, diagnostics::format("rank {}: the group is suspended: {}", rank, *reason));
  }
}

std::optional<std::string> GroupState::raised_reason() const {
  for (const auto& flag : {abort_, world_abort_}) {
    if (flag->raised()) return flag->reason();
  }
  return std::nullopt;
}

void GroupState::suspend(std::string reason) noexcept {
  if (suspended_) return;
  suspended_ = true;
  suspension_ = std::move(reason);
  if (trace_) trace_->fail(suspension_);
  heap().quarantine();  // a peer may be late, and still write to what was granted
}

bool GroupState::is_suspended() {
  return suspended_ || abort_->raised() || world_abort_->raised() || !device_failure().empty();
}

void GroupState::prepare_operation() {
  if (options.on_timeout == TimeoutPolicy::mask && is_suspended()) {
    // This rank would go on behind them, and others, which had not sent as many, with them.
    if (held_parts_ > 0) {
      throw Error(
          ErrorCode::suspended,
          diagnostics::format("rank {}: the group is suspended, and {} send parts of before are still held; drop "
                              "them, and begin again with the first of them",
                              rank, held_parts_));
    }
    const Recovery recovery = go_on(false);
    const bool lost = take_lost();
    if (!recovery.aligned || lost) {
      throw Error(ErrorCode::operation_mismatch,
                  diagnostics::format("rank {}: the group has recovered, but {}: all had finished {} dispatches and {} "
                                      "combines; go on from there",
                                      rank,
                                      lost ? "operations that this rank had called were lost"
                                           : "not every rank had finished the same operations",
                                      recovery.dispatches, recovery.combines));
    }
  }
  check_active();
}

Recovery GroupState::recover() {
  Recovery recovery = go_on(false);
  static_cast<void>(take_lost());  // whoever calls this knows
  return recovery;
}

Recovery GroupState::rejoin() {
  api::require(masked_, "rank {}: rejoin, and this rank is not masked; recover() is for those who are not", rank);
  return go_on(true);
}

// With those who come, after `joins` as one that was masked.
Recovery GroupState::go_on(bool joins) {
  std::string why = device_failure();
  if (why.empty()) why = raised_reason().value_or("recover() was called");
  suspend(std::move(why));
  membership_.stop_watching();
  const std::shared_ptr<bootstrap::AbortFlag> end = renew_abort();
  bool is_member = !masked_;
  try {
    const auto [agreed, aligned] = membership_.agree(standing(), joins, suspension_, timeout(), *end);
    is_member = true;
    membership_.watch(end, world_abort_);
    const std::shared_ptr<bootstrap::Bootstrap> members = membership_.make_bootstrap(end);
    rebuild(agreed, members);
    members_ = members;
    Recovery recovery{
        .masked = masked_ranks(), .dispatches = agreed.dispatches, .combines = agreed.combines, .aligned = aligned};
    resume(recovery);
    log_->write(LogLevel::warn, diagnostics::format("rank {}: the group goes on with ranks {}, after epoch {}", rank,
                                                    fmt::join(membership_.ranks(), ", "), agreed.next_epoch));
    return recovery;
  } catch (const Error& error) {
    stay_suspended(error, !is_member);
    throw;
  }
}

void GroupState::stay_suspended(const Error& error, bool masked) {
  masked_ = masked || error.code() == ErrorCode::masked;
  suspension_ = error.what();
}

void GroupState::abort(std::string_view reason) {
  std::shared_ptr<bootstrap::AbortFlag> current;
  {
    const std::lock_guard lock(abort_mutex_);
    current = abort_;
  }
  current->raise(reason);
}

std::shared_ptr<bootstrap::AbortFlag> GroupState::renew_abort() {
  auto fresh = std::make_shared<bootstrap::AbortFlag>();
  const std::lock_guard lock(abort_mutex_);
  abort_ = fresh;
  return fresh;
}

void GroupState::resume(const Recovery& recovery) {
  last_recovery_ = recovery;
  suspended_ = false;
  masked_ = false;
  suspension_.clear();
  finished_dispatches_ = recovery.dispatches;
  finished_combines_ = recovery.combines;
  dispatches_.oldest = dispatches_.newest;
  combines_.oldest = combines_.newest;
}

// What a recovery has forgotten, the group does not miss.
void GroupState::abandon(const PendingCounts& pending, std::uint64_t ticket, std::string_view operation) noexcept {
  release_part();
  if (ticket < pending.oldest) return;
  suspend(std::string("a pending ") + std::string(operation) + " was dropped before its receive part");
}

// Runs a part of an operation. Whatever ends it early leaves the group's epochs apart: the group is suspended.
template <typename Part>
auto GroupState::guarded(Part part) {
  try {
    return part();
  } catch (const std::exception& error) {
    suspend(error.what());
    throw;
  } catch (...) {
    suspend("a part of an operation ended with an exception");
    throw;
  }
}

void GroupState::check_ticket(const PendingCounts& pending, std::uint64_t ticket, std::string_view operation) const {
  if (ticket < pending.oldest) {
    throw Error(ErrorCode::suspended,
                diagnostics::format("rank {}: {} #{} was sent before the group recovered; send it anew", rank,
                                    operation, ticket));
  }
  if (ticket != pending.oldest) {
    throw Error(ErrorCode::in_flight, diagnostics::format("{} #{} was received before #{}; receive in send order",
                                                          operation, ticket, pending.oldest));
  }
}

std::uint64_t GroupState::send(transports::DispatchRequest&& request, Stream stream) {
  const diagnostics::NvtxRange range(name(request.operation).data());
  check_active();
  const auto slots = static_cast<std::size_t>(options.max_in_flight);
  if (dispatches_.size() == slots) {
    throw Error(ErrorCode::in_flight, diagnostics::format("{} with {} dispatches pending; max_in_flight is {}",
                                                          name(request.operation), dispatches_.size(), slots));
  }
  const Operation operation = request.operation;
  const std::size_t slot = dispatches_.newest % slots;
  prepare_dispatch(slot, std::move(request), stream);  // nothing is sent: a failure here consumes nothing
  guarded([&] { start_dispatch(slot); });
  const bool is_route = operation == Operation::route || operation == Operation::route_from_mask;
  ++(is_route ? statistics_.routes : statistics_.dispatches);
  return dispatches_.newest++;
}

Dispatched GroupState::run(transports::DispatchRequest&& request, Stream stream) {
  request.whole = true;
  return finish_dispatch_part(send(std::move(request), stream), stream);
}

Dispatched GroupState::receive_dispatch(std::uint64_t ticket, Stream stream) {
  check_active();
  check_ticket(dispatches_, ticket, "dispatch");
  return finish_dispatch_part(ticket, stream);
}

Dispatched GroupState::finish_dispatch_part(std::uint64_t ticket, Stream stream) {
  const diagnostics::NvtxRange range("dispatch: receive");
  const std::size_t slot = ticket % static_cast<std::size_t>(options.max_in_flight);
  check_receive_dispatch(slot, stream);
  return guarded([&] {
    Dispatched result = finish_dispatch(slot, stream);
    ++dispatches_.oldest;
    ++finished_dispatches_;
    return result;
  });
}

std::uint64_t GroupState::send(transports::CombineRequest&& request, Stream stream) {
  const diagnostics::NvtxRange range("combine");
  check_active();
  const auto slots = static_cast<std::size_t>(options.max_in_flight);
  if (combines_.size() == slots) {
    throw Error(ErrorCode::in_flight,
                diagnostics::format("combine with {} combines pending; max_in_flight is {}", combines_.size(), slots));
  }
  const std::size_t slot = combines_.newest % slots;
  prepare_combine(slot, std::move(request), stream);
  guarded([&] { start_combine(slot); });
  ++statistics_.combines;
  return combines_.newest++;
}

Combined GroupState::run(transports::CombineRequest&& request, Stream stream) {
  return finish_combine_part(send(std::move(request), stream), stream);
}

Combined GroupState::receive_combine(std::uint64_t ticket, Stream stream) {
  check_active();
  check_ticket(combines_, ticket, "combine");
  return finish_combine_part(ticket, stream);
}

Combined GroupState::finish_combine_part(std::uint64_t ticket, Stream stream) {
  const diagnostics::NvtxRange range("combine: receive");
  const std::size_t slot = ticket % static_cast<std::size_t>(options.max_in_flight);
  check_receive_combine(slot, stream);
  return guarded([&] {
    Combined result = finish_combine(slot, stream);
    ++combines_.oldest;
    ++finished_combines_;
    return result;
  });
}

Tensor GroupState::allocate(std::initializer_list<std::int64_t> shape, DType dtype, Stream stream) {
  check_active();
  api::require_enumerator("dtype", dtype, DType::int64);
  const TensorView packed(nullptr, dtype, shape);  // checks the shape
  const std::int64_t columns = packed.size(packed.dimensions() - 1);
  const std::size_t pitch = (static_cast<std::size_t>(columns) * size_of(dtype) + 15) / 16 * 16;
  const auto stride = static_cast<std::int64_t>(pitch / size_of(dtype));
  const std::int64_t rows = columns == 0 ? 0 : packed.count() / columns;
  Lease lease;
  if (rows > 0) {
    const std::size_t bytes = static_cast<std::size_t>(rows) * pitch;
    lease = allocate_block(bytes, stream);
    if (!lease) {
      const symmetric_memory::HeapUsage usage = heap().usage();
      throw Error(ErrorCode::heap_exhausted,
                  diagnostics::format(
                      "rank {}: a tensor of {} bytes was wanted; {} of the heap's {} bytes are free, the longest "
                      "range has {}",
                      rank, bytes, usage.bytes - usage.in_use, usage.bytes, usage.largest_free));
    }
  }
  std::byte* const data = lease ? lease.state()->data() : nullptr;
  switch (packed.dimensions()) {
    case 1:
      return {TensorView(data, dtype, {columns}, device), std::move(lease)};
    case 2:
      return {TensorView::rows(data, dtype, packed.size(0), columns, stride, device), std::move(lease)};
    default:
      return {TensorView::strided(data, dtype, {packed.size(0), packed.size(1), columns},
                                  {packed.size(1) * stride, stride, 1}, device),
              std::move(lease)};
  }
}

void GroupState::grow_heap(std::size_t bytes) {
  prepare_operation();
  const std::size_t old_bytes = heap().usage().bytes;
  api::require(bytes <= heap().limit() - old_bytes, "grow_heap by {} bytes; the heap has {} and its limit is {}", bytes,
               old_bytes, heap().limit());
  std::vector<std::uint64_t> all(static_cast<std::size_t>(members_->size()));
  const std::uint64_t mine = bytes;
  members_->all_gather(&mine, all.data(), sizeof(mine), "grow_heap", timeout());
  for (std::size_t other = 0; other < all.size(); ++other) {
    if (all[other] != mine) {
      throw Error(ErrorCode::operation_mismatch,
                  diagnostics::format("grow_heap by {} bytes on rank {} and by {} on rank {}", mine, rank, all[other],
                                      members_->rank_in_world(static_cast<int>(other))));
    }
  }
  // All heaps grow, or none: a rank that the system refuses memory tells the others first.
  std::exception_ptr refusal;
  try {
    prepare_growth(bytes);
  } catch (const Error&) {
    refusal = std::current_exception();
  }
  const std::uint8_t refused = refusal ? 1 : 0;
  std::vector<std::uint8_t> refusals(static_cast<std::size_t>(members_->size()));
  members_->all_gather(&refused, refusals.data(), sizeof(refused), "growing heaps", timeout());
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t other = 0; other < refusals.size(); ++other) {
    if (refusals[other] != 0) {
      throw Error(ErrorCode::out_of_memory,
                  diagnostics::format("rank {} was refused {} bytes for its heap; no heap has grown",
                                      members_->rank_in_world(static_cast<int>(other)), bytes));
    }
  }
  heap().grow(bytes);
}

GroupStatistics GroupState::statistics() {
  GroupStatistics statistics = statistics_;
  const symmetric_memory::HeapUsage usage = heap().usage();
  statistics.heap_bytes = usage.bytes;
  statistics.heap_bytes_in_use = usage.in_use;
  statistics.heap_bytes_peak = usage.peak;
  return statistics;
}

}  // namespace railyard
