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

class HostGroup final : public GroupState {
 public:
  HostGroup(Rank& owner, const GroupOptions& complete_options)
      : GroupState(owner, complete_options),
        heap_(make_heap(owner, options)),
        exchange_(rank, size, heap_, exchange_options(options, trace_ = make_track(owner)),
                  {rank, size, api::deadline_of(owner, options), bootstrap_->abort_flag(), abort_, log_}),
        routes_(std::make_shared<routing::RoutePool>()),
        steps_(options, options.placement, exchange_, routes_, owner.debug() > 0),
        throughput_dispatch_(steps_, exchange_),
        combine_(options, exchange_),
        dispatches_(static_cast<std::size_t>(options.max_in_flight)),
        combines_(static_cast<std::size_t>(options.max_in_flight)) {
    if (options.mode == Mode::low_latency) low_latency_dispatch_.emplace(options, steps_, exchange_);
    // Nobody writes to a peer before the peer's words have their first values.
    bootstrap_->all_gather(nullptr, nullptr, 0, "created a group", timeout());
  }

  api::GroupFacts facts() const override {
    return {.options = options,
            .placement = options.placement,
            .rank = rank,
            .device = device,
            .routes = routes_.get(),
            .heap = heap_->own().base(),
            .heap_limit = heap_->own().limit()};
  }

  void set_timeout(std::chrono::nanoseconds timeout) override { exchange_.waiter().set_timeout(timeout); }
  WaitStatistics wait_statistics() const override { return exchange_.waiter().statistics(); }

 private:
  void prepare_dispatch(std::size_t slot, transports::DispatchRequest&& request, Stream) override {
    steps_.prepare(std::move(request), dispatches_[slot]);
  }

  void start_dispatch(std::size_t slot) override {
    transports::DispatchOperation& operation = dispatches_[slot];
    log(operation.descriptor);
    diagnostics::TracedPart part(trace_.get(), transports::kSendRow);
    const std::uint64_t bytes =
        low_latency_dispatch_ ? low_latency_dispatch_->send(operation) : throughput_dispatch_.send(operation);
    part.moved(bytes);
    statistics_.wire_bytes += bytes;
  }

  Dispatched finish_dispatch(std::size_t slot, Stream) override {
    transports::DispatchOperation& operation = dispatches_[slot];
    const diagnostics::TracedPart part(trace_.get(), transports::kReceiveRow);
    return low_latency_dispatch_ ? low_latency_dispatch_->receive(operation) : throughput_dispatch_.receive(operation);
  }

  void prepare_combine(std::size_t slot, transports::CombineRequest&& request, Stream) override {
    combines_[slot].request = std::move(request);
  }

  void start_combine(std::size_t slot) override {
    throughput::CombineOperation& operation = combines_[slot];
    const diagnostics::TracedPart part(trace_.get(), transports::kSendRow);
    statistics_.bytes_copied += combine_.send(operation).copied;
    log(operation.descriptor);
  }

  Combined finish_combine(std::size_t slot, Stream) override {
    Combined result;
    diagnostics::TracedPart part(trace_.get(), transports::kReceiveRow);
    const std::uint64_t bytes = combine_.receive(combines_[slot], result).wire;
    part.moved(bytes);
    statistics_.wire_bytes += bytes;
    return result;
  }

  symmetric_memory::Heap& heap() const noexcept override { return heap_->own(); }
  std::chrono::nanoseconds timeout() noexcept override { return exchange_.waiter().timeout(); }

  void log(const transports::Descriptor& descriptor) {
    if (!log_->enabled(LogLevel::debug)) return;
    log_->write(LogLevel::debug, diagnostics::format("rank {}: {}", rank, transports::describe(descriptor)));
  }

  std::shared_ptr<symmetric_memory::SymmetricHeap> heap_;
  transports::PeerExchange exchange_;
  std::shared_ptr<routing::RoutePool> routes_;
  transports::DispatchSteps steps_;
  throughput::HostDispatch throughput_dispatch_;
  std::optional<low_latency::HostDispatch> low_latency_dispatch_;
  throughput::HostCombine combine_;
  std::vector<transports::DispatchOperation> dispatches_;  // by slot
  std::vector<throughput::CombineOperation> combines_;
};

}  // namespace

std::shared_ptr<GroupState> api::make_host_group(Rank& rank, const GroupOptions& complete_options) {
  return std::make_shared<HostGroup>(rank, complete_options);
}

}  // namespace railyard
