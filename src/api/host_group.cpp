// SPDX-License-Identifier: Apache-2.0
// A group whose ranks are on the host.
#include "api/group_options.hpp"
#include "api/group_state.hpp"
#include "api/test_hooks.hpp"
#include "diagnostics/format.hpp"
#include "low_latency/host_dispatch.hpp"
#include "symmetric_memory/symmetric_heap.hpp"
#include "throughput/host_combine.hpp"
#include "throughput/host_dispatch.hpp"
#include "transports/peer_exchange.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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

class HostGroup final : public GroupState {
 public:
  HostGroup(Rank& owner, const GroupOptions& complete_options)
      : GroupState(owner, complete_options),
        compare_all_(owner.debug() > 0),
        routes_(std::make_shared<routing::RoutePool>()) {
    auto heap = make_heap(owner, options);
    trace_ = make_track(owner);
    engine_ = make_engine(std::move(heap), exchange_options(options, trace_), api::deadline_of(owner, options), 1);
    membership_.create(timeout());  // nobody writes to a peer before the peer's words have their first values
    membership_.watch(abort_, world_abort_);
  }

  api::GroupFacts facts() const override {
    return {.options = options,
            .placement = options.placement,
            .rank = rank,
            .device = device,
            .routes = routes_.get(),
            .heap = &heap(),
            .first_route = first_route_};
  }

  void set_timeout(std::chrono::nanoseconds timeout) override { engine_->exchange.waiter().set_timeout(timeout); }
  WaitStatistics wait_statistics() const override { return engine_->exchange.waiter().statistics(); }

 private:
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
    exchange.peers = membership_.ranks();
    return std::make_unique<Engine>(options, rank, size, std::move(heap), exchange, std::move(waiter), routes_,
                                    compare_all_, first_route);
  }

  api::Standing standing() override {
    return {.next_epoch = engine_->exchange.next_epoch(),
            .next_route = engine_->steps.next_route(),
            .heap_bytes = heap().usage().bytes,
            .dispatches = finished_dispatches(),
            .combines = finished_combines()};
  }

  void rebuild(const api::Standing& agreed, const std::shared_ptr<bootstrap::Bootstrap>& members) override {
    const auto heap =
        symmetric_memory::make_host_heaps(*members, agreed.heap_bytes, options.heap_limit_bytes, timeout());
    heap->number_as(membership_.ranks(), size);
    transports::PeerExchangeOptions exchange = exchange_options(options, trace_);
    exchange.first_epoch = agreed.next_epoch;
    auto engine = make_engine(heap, std::move(exchange), timeout(), agreed.next_route);
    members->all_gather(nullptr, nullptr, 0, "recovered a group", timeout());
    engine_ = std::move(engine);
    first_route_ = agreed.next_route;
  }

  const bool compare_all_;
  std::shared_ptr<routing::RoutePool> routes_;
  std::unique_ptr<Engine> engine_;
  std::uint64_t first_route_ = 0;  // of this generation
};

}  // namespace

std::shared_ptr<GroupState> api::make_host_group(Rank& rank, const GroupOptions& complete_options) {
  return std::make_shared<HostGroup>(rank, complete_options);
}

}  // namespace railyard
