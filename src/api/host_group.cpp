// SPDX-License-Identifier: Apache-2.0
// A group whose ranks are on the host.
#include "api/group_options.hpp"
#include "api/group_state.hpp"
#include "api/require.hpp"
#include "api/test_hooks.hpp"
#include "bootstrap/member_bootstrap.hpp"
#include "diagnostics/format.hpp"
#include "low_latency/host_dispatch.hpp"
#include "symmetric_memory/symmetric_heap.hpp"
#include "throughput/host_combine.hpp"
#include "throughput/host_dispatch.hpp"
#include "transports/peer_exchange.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace railyard {
namespace {

std::shared_ptr<symmetric_memory::SymmetricHeap> make_heap(Rank& rank, const GroupOptions& options) {
  api::compare_options(options, DeviceKind::host, *rank.bootstrap(), api::deadline_of(rank, options));
  return symmetric_memory::make_host_heaps(*rank.bootstrap(), options.heap_bytes, options.heap_limit_bytes,
                                           api::deadline_of(rank, options));
}

std::shared_ptr<diagnostics::TraceTrack> make_track(const Rank& rank) {
  return rank.trace() ? rank.trace()->make_track(rank.index(), transports::trace_rows()) : nullptr;
}

transports::PeerExchangeOptions exchange_options(const GroupOptions& options,
                                                 std::shared_ptr<diagnostics::TraceTrack> trace) {
  transports::PeerExchangeOptions exchange{
      .num_experts = options.num_experts, .num_slots = options.max_in_flight, .trace = std::move(trace)};
  if (options.testing) {
    exchange.first_epoch = options.testing->first_epoch;
    exchange.at_stage = options.testing->at_stage;
  }
  return exchange;
}

// All that the ranks of one generation of the group share. A recovery builds it anew, among fewer ranks.
struct Engine {
  Engine(const GroupOptions& options, int rank, int size, std::shared_ptr<symmetric_memory::SymmetricHeap> heaps,
         const transports::PeerExchangeOptions& exchange_options, transports::Waiter waiter,
         std::shared_ptr<routing::RoutePool> routes, bool compare_all, std::uint64_t first_route)
      : heap(std::move(heaps)),
        exchange(rank, size, heap, exchange_options, std::move(waiter)),
        steps(options, options.placement, exchange, std::move(routes), compare_all, first_route),
        throughput_dispatch(steps, exchange),
        combine(options, exchange),
        dispatches(static_cast<std::size_t>(options.max_in_flight)),
        combines(static_cast<std::size_t>(options.max_in_flight)) {
    if (options.mode == Mode::low_latency) low_latency_dispatch.emplace(options, steps, exchange);
  }

  std::shared_ptr<symmetric_memory::SymmetricHeap> heap;
  transports::PeerExchange exchange;
  transports::DispatchSteps steps;
  throughput::HostDispatch throughput_dispatch;
  std::optional<low_latency::HostDispatch> low_latency_dispatch;
  throughput::HostCombine combine;
  std::vector<transports::DispatchOperation> dispatches;  // by slot
  std::vector<throughput::CombineOperation> combines;
};

// What a rank brings to the assembly that decides who goes on. The largest of each is what all go on with, of what was
// finished the smallest.
struct Standing {
  std::uint64_t next_epoch = 0;
  std::uint64_t next_route = 0;
  std::uint64_t heap_bytes = 0;  // a growth may have ended on some ranks alone
  std::uint64_t dispatches = 0;
  std::uint64_t combines = 0;
  std::uint64_t generation = 0;  // that is decided
  std::uint64_t joins = 0;       // 1: masked so far; then all but the first three mean nothing
};

std::uint64_t random_number() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

class HostGroup final : public GroupState {
 public:
  HostGroup(Rank& owner, const GroupOptions& complete_options)
      : GroupState(owner, complete_options),
        compare_all_(owner.debug() > 0),
        routes_(std::make_shared<routing::RoutePool>()),
        member_ranks_(static_cast<std::size_t>(size)) {
    std::iota(member_ranks_.begin(), member_ranks_.end(), 0);
    auto heap = make_heap(owner, options);
    trace_ = make_track(owner);
    engine_ = make_engine(std::move(heap), exchange_options(options, trace_), api::deadline_of(owner, options), 1);
    // Nobody writes to a peer before the peer's words have their first values. Rank 0's number is the group's.
    const std::uint64_t mine = random_number();
    std::vector<std::uint64_t> numbers(static_cast<std::size_t>(size));
    bootstrap_->all_gather(&mine, numbers.data(), sizeof(mine), "created a group", timeout());
    number_ = numbers.front();
    watch_members();
  }

  api::GroupFacts facts() const override {
    return {.options = options,
            .placement = options.placement,
            .rank = rank,
            .device = device,
            .routes = routes_.get(),
            .heap = heap().base(),
            .heap_limit = heap().limit(),
            .first_route = first_route_};
  }

  void set_timeout(std::chrono::nanoseconds timeout) override { engine_->exchange.waiter().set_timeout(timeout); }
  WaitStatistics wait_statistics() const override { return engine_->exchange.waiter().statistics(); }

  std::vector<int> masked_ranks() const override {
    std::vector<int> masked;
    for (int other = 0; other < size; ++other) {
      if (!std::ranges::binary_search(member_ranks_, other)) masked.push_back(other);
    }
    return masked;
  }

  Recovery recover() override { return go_on(false); }

  Recovery rejoin() override {
    api::require(is_masked(), "rank {}: rejoin, and this rank is not masked; recover() is for those who are not", rank);
    return go_on(true);
  }

 private:
  // With those who come, after `joins` as one that was masked.
  Recovery go_on(bool joins) {
    suspend("recover() was called");
    watches_.clear();
    const std::shared_ptr<bootstrap::AbortFlag> end = renew_abort();
    bool is_member = !is_masked();
    try {
      Recovery recovery = agree(*end, joins);
      is_member = true;
      rebuild(end);
      resume(recovery);
      log_->write(LogLevel::warn, diagnostics::format("rank {}: the group goes on with ranks {}, after epoch {}", rank,
                                                      fmt::join(member_ranks_, ", "), agreed_.next_epoch));
      return recovery;
    } catch (const Error& error) {
      stay_suspended(error, !is_member);
      throw;
    }
  }

  void prepare_dispatch(std::size_t slot, transports::DispatchRequest&& request, Stream) override {
    engine_->steps.prepare(std::move(request), engine_->dispatches[slot]);
  }

  void start_dispatch(std::size_t slot) override {
    transports::DispatchOperation& operation = engine_->dispatches[slot];
    log(operation.descriptor);
    diagnostics::TracedPart part(trace_.get(), transports::kSendRow);
    const std::uint64_t bytes = engine_->low_latency_dispatch ? engine_->low_latency_dispatch->send(operation)
                                                              : engine_->throughput_dispatch.send(operation);
    part.moved(bytes);
    statistics_.wire_bytes += bytes;
  }

  Dispatched finish_dispatch(std::size_t slot, Stream) override {
    transports::DispatchOperation& operation = engine_->dispatches[slot];
    const diagnostics::TracedPart part(trace_.get(), transports::kReceiveRow);
    return engine_->low_latency_dispatch ? engine_->low_latency_dispatch->receive(operation)
                                         : engine_->throughput_dispatch.receive(operation);
  }

  void prepare_combine(std::size_t slot, transports::CombineRequest&& request, Stream) override {
    engine_->combines[slot].request = std::move(request);
  }

  void start_combine(std::size_t slot) override {
    throughput::CombineOperation& operation = engine_->combines[slot];
    const diagnostics::TracedPart part(trace_.get(), transports::kSendRow);
    statistics_.bytes_copied += engine_->combine.send(operation).copied;
    log(operation.descriptor);
  }

  Combined finish_combine(std::size_t slot, Stream) override {
    Combined result;
    diagnostics::TracedPart part(trace_.get(), transports::kReceiveRow);
    const std::uint64_t bytes = engine_->combine.receive(engine_->combines[slot], result).wire;
    part.moved(bytes);
    statistics_.wire_bytes += bytes;
    return result;
  }

  symmetric_memory::Heap& heap() const noexcept override { return engine_->heap->own(); }
  std::chrono::nanoseconds timeout() noexcept override { return engine_->exchange.waiter().timeout(); }

  void log(const transports::Descriptor& descriptor) {
    if (!log_->enabled(LogLevel::debug)) return;
    log_->write(LogLevel::debug, diagnostics::format("rank {}: {}", rank, transports::describe(descriptor)));
  }

  std::unique_ptr<Engine> make_engine(std::shared_ptr<symmetric_memory::SymmetricHeap> heap,
                                      transports::PeerExchangeOptions exchange, std::chrono::nanoseconds timeout,
                                      std::uint64_t first_route) {
    transports::Waiter waiter(rank, size, timeout, world_abort_, abort_, log_);
    waiter.set_patient(options.on_timeout == TimeoutPolicy::wait);
    if (engine_) waiter.set_statistics(engine_->exchange.waiter().statistics());
    exchange.peers = member_ranks_;
    return std::make_unique<Engine>(options, rank, size, std::move(heap), exchange, std::move(waiter), routes_,
                                    compare_all_, first_route);
  }

  [[nodiscard]] std::string name_in_world() const { return diagnostics::format("group {:016x}", number_); }
  [[nodiscard]] std::string key_of(std::uint64_t generation) const {
    return diagnostics::format("{}, generation {}", name_in_world(), generation);
  }

  // Waits of this generation end when a member has gone, the world has ended, or somebody calls the next.
  void watch_members() {
    const auto watch = [&](const std::shared_ptr<bootstrap::AbortFlag>& flag) {
      if (!flag) return;
      watches_.push_back(flag->watch([end = abort_](const std::string& reason) { end->raise(reason); }));
    };
    watch(world_abort_);
    for (const int member : member_ranks_) {
      if (member != rank) watch(bootstrap_->departure_flag(member));
    }
    watch(bootstrap_->call_flag(key_of(generation_ + 1)));  // last: a departure that led to it says more
  }

  // The survivors' decision. Whoever is part of it knows its generation, whatever fails afterwards: the next attempt is
  // a decision of those who took part in this one.
  Recovery agree(bootstrap::AbortFlag& end, bool joins) {
    const Standing mine{.next_epoch = engine_->exchange.next_epoch(),
                        .next_route = engine_->steps.next_route(),
                        .heap_bytes = heap().usage().bytes,
                        .dispatches = finished_dispatches(),
                        .combines = finished_combines(),
                        .generation = generation_ + 1,
                        .joins = joins ? 1U : 0U};
    const auto* const bytes = reinterpret_cast<const std::byte*>(&mine);
    const bootstrap::Attendance came = bootstrap_->assemble(
        {.purpose = diagnostics::format("rank {}: {}", rank, joins ? "rejoin" : "recover"),
         .key = joins ? diagnostics::format("{}, rank {} joins", name_in_world(), rank) : key_of(generation_ + 1),
         .members = joins ? std::vector<int>{rank} : member_ranks_,
         .quorum = joins ? bootstrap::Quorum::join : bootstrap::Quorum::majority,
         .group = name_in_world(),
         .block = {bytes, bytes + sizeof(mine)}},
        timeout(), end);
    member_ranks_ = came.ranks;
    agreed_ = {};
    bool aligned = true;
    bool first = true;
    for (const std::vector<std::byte>& block : came.blocks) {
      Standing other;
      std::memcpy(&other, block.data(), std::min(block.size(), sizeof(other)));
      agreed_.next_epoch = std::max(agreed_.next_epoch, other.next_epoch);
      agreed_.next_route = std::max(agreed_.next_route, other.next_route);
      agreed_.heap_bytes = std::max(agreed_.heap_bytes, other.heap_bytes);
      if (other.joins != 0) continue;
      generation_ = other.generation;
      if (std::exchange(first, false)) {
        agreed_.dispatches = other.dispatches;
        agreed_.combines = other.combines;
      }
      aligned = aligned && other.dispatches == agreed_.dispatches && other.combines == agreed_.combines;
      agreed_.dispatches = std::min(agreed_.dispatches, other.dispatches);
      agreed_.combines = std::min(agreed_.combines, other.combines);
    }
    return {
        .masked = masked_ranks(), .dispatches = agreed_.dispatches, .combines = agreed_.combines, .aligned = aligned};
  }

  // Everything anew, among the members alone. No late word can be taken for one of now: a masked rank, and an operation
  // that was interrupted, know only memory of before, and the heap of now is no part of it. The epoch goes on from the
  // largest that a member has begun, so that messages and traces name none twice. What a masked rank still writes
  // lands in the old heap, of which no byte is handed out again, and which it keeps alive itself.
  void rebuild(const std::shared_ptr<bootstrap::AbortFlag>& end) {
    watch_members();
    const auto members = bootstrap::make_member_bootstrap(bootstrap_, member_ranks_, key_of(generation_), end);
    const auto heap =
        symmetric_memory::make_host_heaps(*members, agreed_.heap_bytes, options.heap_limit_bytes, timeout());
    heap->number_as(member_ranks_, size);
    transports::PeerExchangeOptions exchange = exchange_options(options, trace_);
    exchange.first_epoch = agreed_.next_epoch;
    auto engine = make_engine(heap, std::move(exchange), timeout(), agreed_.next_route);
    members->all_gather(nullptr, nullptr, 0, "recovered a group", timeout());
    engine_ = std::move(engine);
    members_ = members;
    first_route_ = agreed_.next_route;
  }

  const bool compare_all_;
  std::shared_ptr<routing::RoutePool> routes_;
  std::unique_ptr<Engine> engine_;
  std::uint64_t number_ = 0;       // of the group, in its world
  std::uint64_t generation_ = 0;   // counts the decisions who goes on
  std::uint64_t first_route_ = 0;  // of this generation
  std::vector<int> member_ranks_;  // ascending
  Standing agreed_;
  std::vector<std::shared_ptr<void>> watches_;
};

}  // namespace

std::shared_ptr<GroupState> api::make_host_group(Rank& rank, const GroupOptions& complete_options) {
  return std::make_shared<HostGroup>(rank, complete_options);
}

}  // namespace railyard
