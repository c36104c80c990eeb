// SPDX-License-Identifier: Apache-2.0
#include "api/group_state.hpp"

#include "api/group_options.hpp"
#include "api/require.hpp"
#include "api/test_hooks.hpp"

#include <exception>
#include <utility>

namespace railyard {

using transports::Operation;

namespace {

std::chrono::nanoseconds deadline_of(const Rank& rank, const GroupOptions& options) {
  return options.timeout.count() > 0 ? options.timeout : rank.timeout();
}

std::shared_ptr<symmetric_memory::SymmetricHeap> make_heap(Rank& rank, const GroupOptions& options) {
  api::compare_options(options, *rank.bootstrap(), deadline_of(rank, options));
  return std::make_shared<symmetric_memory::SymmetricHeap>(*rank.bootstrap(), options.heap_bytes,
                                                           options.heap_limit_bytes, deadline_of(rank, options));
}

transports::PeerExchangeOptions exchange_options(const GroupOptions& options) {
  transports::PeerExchangeOptions exchange{.num_experts = options.num_experts, .num_slots = options.max_in_flight};
  if (options.testing) {
    exchange.first_epoch = options.testing->first_epoch;
    exchange.at_stage = options.testing->at_stage;
  }
  return exchange;
}

}  // namespace

GroupState::GroupState(Rank& owner, GroupOptions complete_options)
    : options(std::move(complete_options)),
      rank(owner.index()),
      size(owner.world_size()),
      bootstrap_(owner.bootstrap()),
      log_(owner.log()),
      abort_(std::make_shared<bootstrap::AbortFlag>()),
      heap_(make_heap(owner, options)),
      exchange_(rank, size, heap_, exchange_options(options),
                {rank, size, deadline_of(owner, options), bootstrap_->abort_flag(), abort_, log_}),
      routes_(std::make_shared<routing::RoutePool>()),
      steps_(options, options.placement, exchange_, routes_, owner.debug() > 0),
      throughput_dispatch_(steps_, exchange_),
      combine_(options, exchange_),
      dispatches_(options.max_in_flight),
      combines_(options.max_in_flight) {
  if (options.mode == Mode::low_latency) low_latency_dispatch_.emplace(options, steps_, exchange_);
  // Nobody writes to a peer before the peer's words have their first values.
  bootstrap_->all_gather(nullptr, nullptr, 0, "created a group", deadline_of(owner, options));
}

api::GroupFacts GroupState::facts() const {
  return {.options = options,
          .placement = options.placement,
          .rank = rank,
          .routes = routes_.get(),
          .heap = heap_->own().base(),
          .heap_limit = heap_->own().limit()};
}

void GroupState::check_active() const {
  if (suspended_)
    throw Error(ErrorCode::suspended, diagnostics::format("rank {}: the group is suspended: {}", rank, suspension_));
  for (const auto& flag : {abort_, bootstrap_->abort_flag()}) {
    if (flag->raised()) {
      throw Error(ErrorCode::suspended,
                  diagnostics::format("rank {}: the group is suspended: {}", rank, flag->reason()));
    }
  }
}

void GroupState::suspend(std::string reason) noexcept {
  if (suspended_) return;
  suspended_ = true;
  suspension_ = std::move(reason);
  heap_->own().quarantine();  // a peer may be late, and still write to what was granted
}

void GroupState::abandon(std::string_view operation) noexcept {
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

std::uint64_t GroupState::send(transports::DispatchRequest&& request) {
  check_active();
  if (dispatches_.full()) {
    throw Error(ErrorCode::in_flight,
                diagnostics::format("{} with {} dispatches pending; max_in_flight is {}", name(request.operation),
                                    dispatches_.size(), dispatches_.capacity()));
  }
  const Operation operation = request.operation;
  transports::DispatchOperation& pending = dispatches_.next();
  steps_.prepare(std::move(request), pending);  // nothing is sent: a failure here consumes nothing
  return guarded([&] {
    if (log_->enabled(LogLevel::debug)) {
      log_->write(LogLevel::debug, diagnostics::format("rank {}: {}", rank, transports::describe(pending.descriptor)));
    }
    statistics_.wire_bytes +=
        low_latency_dispatch_ ? low_latency_dispatch_->send(pending) : throughput_dispatch_.send(pending);
    const bool is_route = operation == Operation::route || operation == Operation::route_from_mask;
    ++(is_route ? statistics_.routes : statistics_.dispatches);
    return dispatches_.push();
  });
}

Dispatched GroupState::receive_dispatch(std::uint64_t ticket) {
  check_active();
  if (ticket != dispatches_.oldest()) {
    throw Error(ErrorCode::in_flight, diagnostics::format("dispatch #{} was received before #{}; receive in send order",
                                                          ticket, dispatches_.oldest()));
  }
  return guarded([&] {
    transports::DispatchOperation& pending = dispatches_.front();
    Dispatched result =
        low_latency_dispatch_ ? low_latency_dispatch_->receive(pending) : throughput_dispatch_.receive(pending);
    dispatches_.pop();
    return result;
  });
}

std::uint64_t GroupState::send(throughput::CombineRequest&& request) {
  check_active();
  if (combines_.full()) {
    throw Error(ErrorCode::in_flight, diagnostics::format("combine with {} combines pending; max_in_flight is {}",
                                                          combines_.size(), combines_.capacity()));
  }
  return guarded([&] {
    throughput::CombineOperation& pending = combines_.next();
    statistics_.bytes_copied += combine_.send(std::move(request), pending).copied;
    if (log_->enabled(LogLevel::debug)) {
      log_->write(LogLevel::debug, diagnostics::format("rank {}: {}", rank, transports::describe(pending.descriptor)));
    }
    ++statistics_.combines;
    return combines_.push();
  });
}

Combined GroupState::receive_combine(std::uint64_t ticket) {
  check_active();
  if (ticket != combines_.oldest()) {
    throw Error(ErrorCode::in_flight, diagnostics::format("combine #{} was received before #{}; receive in send order",
                                                          ticket, combines_.oldest()));
  }
  return guarded([&] {
    Combined result;
    statistics_.wire_bytes += combine_.receive(combines_.front(), result).wire;
    combines_.pop();
    return result;
  });
}

Tensor GroupState::allocate(std::initializer_list<std::int64_t> shape, DType dtype) {
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
    lease = heap_->own().allocate(bytes);
    if (!lease) {
      const symmetric_memory::HeapUsage usage = heap_->own().usage();
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
      return {TensorView(data, dtype, {columns}), std::move(lease)};
    case 2:
      return {TensorView::rows(data, dtype, packed.size(0), columns, stride), std::move(lease)};
    default:
      return {TensorView::strided(data, dtype, {packed.size(0), packed.size(1), columns},
                                  {packed.size(1) * stride, stride, 1}),
              std::move(lease)};
  }
}

void GroupState::grow_heap(std::size_t bytes) {
  check_active();
  const std::size_t old_bytes = heap_->own().usage().bytes;
  api::require(bytes <= heap_->own().limit() - old_bytes, "grow_heap by {} bytes; the heap has {} and its limit is {}",
               bytes, old_bytes, heap_->own().limit());
  std::vector<std::uint64_t> all(static_cast<std::size_t>(size));
  const std::uint64_t mine = bytes;
  bootstrap_->all_gather(&mine, all.data(), sizeof(mine), "grow_heap", waiter().timeout());
  for (std::size_t other = 0; other < all.size(); ++other) {
    if (all[other] != mine) {
      throw Error(
          ErrorCode::operation_mismatch,
          diagnostics::format("grow_heap by {} bytes on rank {} and by {} on rank {}", mine, rank, all[other], other));
    }
  }
  heap_->own().grow(bytes);
}

GroupStatistics GroupState::statistics() const {
  GroupStatistics statistics = statistics_;
  const symmetric_memory::HeapUsage usage = heap_->own().usage();
  statistics.heap_bytes = usage.bytes;
  statistics.heap_bytes_in_use = usage.in_use;
  statistics.heap_bytes_peak = usage.peak;
  return statistics;
}

}  // namespace railyard
