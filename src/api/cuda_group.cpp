// SPDX-License-Identifier: Apache-2.0
// A group whose ranks are on GPUs: one kernel for each operation, in the order of cuda_order.hpp. `receive` only makes
// its stream wait for the send part's kernel.
#include "api/cuda_engine.hpp"
#include "api/cuda_order.hpp"
#include "api/group_options.hpp"
#include "api/group_state.hpp"
#include "api/test_hooks.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"
#include "symmetric_memory/cuda_graph_owner.hpp"
#include "symmetric_memory/cuda_region.hpp"
#include "symmetric_memory/cuda_release_order.hpp"
#include "symmetric_memory/symmetric_heap.hpp"
#include "throughput/cuda_late_watch.hpp"
#include "throughput/cuda_operations.hpp"
#include "throughput/cuda_trace.hpp"
#include "throughput/cuda_trace_events.hpp"
#include "throughput/cuda_wait_reader.hpp"
#include "topology/cuda_devices.hpp"
#include "tuning/sm_ledger.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace railyard {
namespace {

using api::CudaEngine;
using symmetric_memory::Heap;
using symmetric_memory::SymmetricHeap;

// Measured: more do not help (docs/measurements).
constexpr int kSms = 16;
constexpr int kSmsQuantise = 20;
// Address space for the routes that a rank may keep; memory is taken as they come.
constexpr std::size_t kRouteLimit = std::size_t{64} << 30;

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }

// [rank] the GPU of each.
std::vector<topology::CudaIdentity> gather_gpus(Rank& rank, std::chrono::nanoseconds timeout) {
  const topology::CudaIdentity mine = topology::identity_of(rank.device().index);
  std::vector<topology::CudaIdentity> all(static_cast<std::size_t>(rank.world_size()));
  rank.bootstrap()->all_gather(mine.data(), all.data(), mine.size(), "creating a group: GPUs", timeout);
  return all;
}

// Of the routes of one rank alone.
std::shared_ptr<Heap> make_route_heap(int device) {
  return std::make_shared<Heap>(
      std::make_unique<symmetric_memory::CudaRegion>(device, kRouteLimit, std::vector<int>{device}), 0,
      std::make_shared<symmetric_memory::CudaReleaseOrder>(device));
}

struct SmShare {
  int copy = 0;
  int quantise = 0;
};

// What each operation may take: the caller's number, or the measured one as far as the device's ranks can all have it.
SmShare share_sms(const GroupOptions& options, int available, std::ptrdiff_t ranks_here) {
  if (options.num_sms > 0) return {options.num_sms, options.num_sms};
  const int share = std::max(1, available / static_cast<int>(ranks_here));
  return {std::min(kSms, share), std::min(kSmsQuantise, share)};
}

class CudaGroup final : public GroupState {
 public:
  CudaGroup(Rank& owner, const GroupOptions& complete_options)
      : GroupState(owner, complete_options),
        timeout_(api::deadline_of(owner, options)),
        compare_all_(owner.debug() > 0),
        routes_(std::make_shared<throughput::CudaRoutePool>()),
        dispatches_(static_cast<std::size_t>(options.max_in_flight)),
        combines_(static_cast<std::size_t>(options.max_in_flight)),
        order_(rank, device.index) {
    const device::UseDevice current(device.index);
    symmetric_memory::release_from_graphs();
    api::release_retired_cuda_engines();
    symmetric_memory::CudaReleaseOrder::release_retired();
    api::compare_options(options, device.kind, *bootstrap_, timeout_);
    gpus_ = gather_gpus(owner, timeout_);
    const auto ranks_on_gpu = count_ranks_here();
    if (bootstrap_->one_process()) {
      order_.set_ranks_here(ranks_on_gpu);
    } else if (ranks_on_gpu > 1) {
      warn_of_shared_gpu(ranks_on_gpu);
    }
    const int available = topology::available_sms(device.index);
    sms_ = share_sms(options, available, ranks_on_gpu);
    auto heap = api::make_cuda_heap(*bootstrap_, device.index, options.heap_bytes, options, gpus_, timeout_);
    // From here on a rank that fails lets the others' barrier name it.
    reservation_ = tuning::reserve_sms(device.index, available, std::max(sms_.copy, sms_.quantise),
                                       diagnostics::format("a group of rank {}", rank));
    statistics_.num_sms = std::max(sms_.copy, sms_.quantise);
    load_kernels();
    wait_reader_ = std::make_unique<throughput::CudaWaitReader>(size);
    if (owner.trace()) start_trace(*owner.trace());
    route_heap_ = make_route_heap(device.index);
    engine_ = make_engine(std::move(heap), options.testing ? options.testing->first_epoch : 0, 0);
    late_watch_ = watch_for_late_peers(*engine_);
    // Nobody launches before everybody's control words have their first values and every kernel is loaded.
    membership_.create(timeout_);
    membership_.watch(abort_, world_abort_);
  }

  ~CudaGroup() override {
    const device::UseDevice current(device.index);
    if (cuda_trace_) end_trace();
    api::release_retired_cuda_engines();
    if (!order_.has_ended()) {
      // What still runs hears of members that leave, or recover, and of nobody else.
      std::ranges::move(membership_.hand_over_watches(), std::back_inserter(engine_->abort_watches));
      api::retire(order_.latest(), engine_, std::move(reservation_));
    }
  }

  api::GroupFacts facts() const override {
    return {.options = options,
            .placement = options.placement,
            .rank = rank,
            .device = device,
            .routes = routes_.get(),
            .heap = &heap(),
            .first_route = engine_->first_route};
  }

  void set_timeout(std::chrono::nanoseconds timeout) override {
    timeout_ = timeout;
    tell_timeout(*engine_->resources);
    late_watch_->set_deadline(timeout);
  }

  GroupStatistics statistics() override {
    const device::UseDevice current(device.index);
    if (cuda_trace_) cuda_trace_->drain();
    count_wire_bytes();
    return GroupState::statistics();
  }

  void set_wait_statistics(bool kept) override {
    keeps_waits_ = kept;
    has_kept_waits_ = has_kept_waits_ || kept;
    engine_->operations->set_timed(kept || cuda_trace_);
  }

  WaitStatistics wait_statistics() const override {
    if (!has_kept_waits_ && !cuda_trace_) {
      throw Error(ErrorCode::unsupported,
                  diagnostics::format("rank {}: wait statistics on {}: kernels keep none unless "
                                      "Group::set_wait_statistics(true) was called, or RAILYARD_TRACE is set",
                                      rank, name(device.kind)));
    }
    const device::UseDevice current(device.index);
    return wait_reader_->read(engine_->operations->wait_table(), engine_->operations->peers());
  }

 private:
  // An operation whose bytes are not counted yet: they are known when it, and its route, have ended.
  struct Uncounted {
    std::shared_ptr<CUevent_st> end;
    std::shared_ptr<throughput::CudaCompletion> route;
    std::uint64_t row_bytes = 0;
  };

  // On this rank's GPU, of the group's members.
  [[nodiscard]] std::ptrdiff_t count_ranks_here() const {
    const topology::CudaIdentity& mine = gpus_[static_cast<std::size_t>(rank)];
    return std::ranges::count_if(membership_.ranks(),
                                 [&](int member) { return gpus_[static_cast<std::size_t>(member)] == mine; });
  }

  void tell_timeout(const throughput::CudaResources& resources) const {
    const auto deadline = static_cast<std::uint64_t>(timeout_.count());
    std::atomic_ref(resources.control()->timeout_ns).store(waits_forever() ? 0 : deadline, std::memory_order_relaxed);
    std::atomic_ref(resources.control()->warn_ns).store(deadline / 10, std::memory_order_relaxed);
  }

  [[nodiscard]] bool waits_forever() const { return options.on_timeout == TimeoutPolicy::wait; }

  // Until this group is destroyed: then nobody is there to read a warning.
  [[nodiscard]] std::unique_ptr<throughput::CudaLateWatch> watch_for_late_peers(const CudaEngine& engine) const {
    return std::make_unique<throughput::CudaLateWatch>(
        std::shared_ptr<device::WaitReport>(engine.resources, engine.resources->report()), rank, waits_forever(),
        timeout_, log_);
  }

  // Under `abort_`.
  std::shared_ptr<CudaEngine> make_engine(std::shared_ptr<SymmetricHeap> heap, std::uint64_t first_epoch,
                                          std::uint64_t first_route) {
    auto engine = std::make_shared<CudaEngine>();
    engine->heap = std::move(heap);
    engine->resources =
        std::make_shared<throughput::CudaResources>(rank, device.index, options.placement.local_experts(rank),
                                                    throughput::CudaResources::AbortFlags{abort_, world_abort_});
    tell_timeout(*engine->resources);
    engine->operations = std::make_unique<throughput::CudaOperations>(
        throughput::CudaOperationsOptions{.group = &options,
                                          .rank = rank,
                                          .num_ranks = size,
                                          .members = membership_.ranks(),
                                          .device = device,
                                          .num_sms = sms_.copy,
                                          .num_sms_quantise = sms_.quantise,
                                          .first_epoch = first_epoch,
                                          .first_route = first_route,
                                          .compare_all = compare_all_,
                                          .trace = cuda_trace_ ? cuda_trace_->records() : nullptr},
        engine->heap, route_heap_, routes_, engine->resources);
    engine->operations->set_timed(keeps_waits_ || cuda_trace_);
    engine->first_epoch = first_epoch;
    engine->first_route = first_route;
    engine->end_with(*abort_);
    engine->end_with(*world_abort_);
    return engine;
  }

  // Every wait on the device ends now, so what runs does, unless it has not begun: then the caller's work before it on
  // its stream has the deadline to end.
  api::Standing standing() override {
    const device::UseDevice current(device.index);
    engine_->abort();
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    while (!order_.has_ended()) {
      if (const bootstrap::AbortFlag* const flag = raised_flag()) {
        throw Error(ErrorCode::aborted, diagnostics::format("rank {}: recover: {}", rank, flag->reason()));
      }
      if (std::chrono::steady_clock::now() > deadline) {
        throw Error(ErrorCode::timeout,
                    diagnostics::format("rank {}: recover: the group's latest operation has not ended on cuda:{}; what "
                                        "was submitted to its stream before must end first",
                                        rank, device.index));
      }
      std::this_thread::yield();
    }
    lost_ = lost_ || order_.has_lost(*engine_->resources);
    const throughput::CudaOperations::Finished finished = engine_->operations->close();
    return {.next_epoch = engine_->first_epoch + std::max(finished.dispatches, finished.combines) + 1,
            .next_route = engine_->operations->next_route(),
            .heap_bytes = heap().usage().bytes,
            .dispatches = before_.dispatches + finished.dispatches,
            .combines = before_.combines + finished.combines};
  }

  void rebuild(const api::Standing& agreed, const std::shared_ptr<bootstrap::Bootstrap>& members) override {
    const device::UseDevice current(device.index);
    symmetric_memory::release_from_graphs();
    std::vector<topology::CudaIdentity> gpus;
    for (const int member : membership_.ranks()) gpus.push_back(gpus_[static_cast<std::size_t>(member)]);
    auto heap = api::make_cuda_heap(*members, device.index, agreed.heap_bytes, options, gpus, timeout_);
    heap->number_as(membership_.ranks(), size);
    if (cuda_trace_) cuda_trace_->renew();
    auto engine = make_engine(std::move(heap), agreed.next_epoch, agreed.next_route);
    auto late_watch = watch_for_late_peers(*engine);
    // What was pending holds memory of before. It is freed here, as far as nobody has leases of it: later that could
    // wait for kernels of other ranks, and they for this one.
    std::ranges::fill(dispatches_, throughput::CudaDispatchOperation{});
    std::ranges::fill(combines_, throughput::CudaCombineOperation{});
    order_.reset();
    wait_reader_->keep(engine_->operations->wait_table(), engine_->operations->peers());
    std::erase_if(earlier_, [](const auto& earlier) { return earlier.expired(); });
    earlier_.push_back(engine_->resources);
    for (const auto& earlier : earlier_) {
      if (const auto resources = earlier.lock()) resources->forget_refusal();
    }
    engine_ = std::move(engine);
    late_watch_ = std::move(late_watch);
    before_ = {.dispatches = agreed.dispatches, .combines = agreed.combines};
    if (bootstrap_->one_process()) order_.set_ranks_here(count_ranks_here());
    members->all_gather(nullptr, nullptr, 0, "recovered a group", timeout_);
  }

  void warn_of_shared_gpu(std::ptrdiff_t ranks) const {
    log_->write(LogLevel::warn,
                diagnostics::format("rank {}: {} processes share cuda:{}; without MPS the GPU runs one at a time, and "
                                    "operations that wait for each other take milliseconds: give each rank a GPU",
                                    rank, ranks, device.index));
  }

  void load_kernels() {
    for (const throughput::CudaKernelReport& kernel : throughput::prepare_kernels()) {
      if (!kernel.from_ptx) continue;
      log_->write(LogLevel::info, diagnostics::format("rank {}: kernel {} was compiled from PTX for cuda:{}", rank,
                                                      kernel.name, device.index));
    }
  }

  void start_trace(diagnostics::Trace& trace) {
    trace_ = trace.make_track(rank, throughput::cuda_trace_rows());
    cuda_trace_ = std::make_unique<throughput::CudaTrace>(trace_, log_, rank);
  }

  // Without what has not ended.
  void end_trace() {
    cuda_trace_->finish();
    if (trace_->has_failed()) return;
    if (const std::string failure = engine_->resources->failure(); !failure.empty()) trace_->fail(failure);
  }

  void check_memory(const char* what, const void* pointer) const {
    if (!pointer) return;
    cudaPointerAttributes attributes{};
    device::require_cuda(cudaPointerGetAttributes(&attributes, pointer), "asking where memory is");
    if (attributes.type == cudaMemoryTypeDevice && attributes.device == device.index) return;
    throw Error(
        ErrorCode::invalid_argument,
        attributes.type == cudaMemoryTypeDevice
            ? diagnostics::format("{} lies on cuda:{}; rank {} is on cuda:{}", what, attributes.device, rank,
                                  device.index)
            : diagnostics::format("{} is not in device memory; rank {} is on cuda:{}", what, rank, device.index));
  }

  // Returns whether the stream is being captured.
  bool enter(Stream stream) {
    symmetric_memory::release_from_graphs();
    if (cuda_trace_) cuda_trace_->drain();
    return order_.enter(stream, waits_forever() ? std::chrono::nanoseconds::max() : timeout_,
                        [this] { return raised_flag() != nullptr; });
  }

  void leave(Stream stream, const std::shared_ptr<throughput::CudaCompletion>& completion) {
    order_.leave(stream, completion, engine_->resources);
  }

  void check(const transports::DispatchRequest& request) const {
    check_memory("x", request.x.data());
    check_memory("top_k_ids", request.targets.data());
    check_memory("weights", request.weights.data());
    check_memory("scales", request.scales.data());
    check_memory("num_tokens", request.num_tokens_word);
    check_memory("expert_load", request.expert_load.data());
  }

  void check(const transports::CombineRequest& request) const {
    check_memory("y", request.y.data());
    check_memory("out", request.out.data());
    for (const ConstTensorView& bias : request.options.bias) check_memory("a bias", bias.data());
  }

  // Memory of the heap that the caller passed is used on this stream.
  void use_on(Stream stream, std::initializer_list<const void*> pointers, std::vector<Lease>* keep) const {
    for (const void* pointer : pointers) {
      if (!pointer) continue;
      Lease lease = heap().lease_of(pointer);
      if (!lease) continue;
      lease.use_on(stream);
      if (keep) keep->push_back(std::move(lease));
    }
  }

  void prepare_dispatch(std::size_t slot, transports::DispatchRequest&& request, Stream stream) override {
    const device::UseDevice current(device.index);
    check(request);
    const bool capturing = enter(stream);
    Kept kept;
    use_on(stream,
           {request.x.data(), request.targets.data(), request.weights.data(), request.scales.data(),
            request.num_tokens_word, request.expert_load.data()},
           capturing ? &kept.leases : nullptr);
    if (!request.makes_route()) use_route(request.route, stream);
    order_.follow(stream);
    throughput::CudaDispatchOperation& operation = dispatches_[slot];
    engine_->operations->prepare(std::move(request), stream, operation);
    if (!capturing) return;
    kept.leases.push_back(operation.payload);
    kept.route = operation.route;
    kept.end = operation.completion;
    keep(std::move(kept), stream);
  }

  void start_dispatch(std::size_t slot) override {
    const device::UseDevice current(device.index);
    throughput::CudaDispatchOperation& operation = dispatches_[slot];
    log(operation.descriptor);
    engine_->operations->launch(operation);
    try {
      engine_->operations->add_load(operation);
    } catch (...) {
      leave(Stream(operation.launch.stream), operation.completion);  // the dispatch itself runs
      throw;
    }
    leave(Stream(operation.launch.stream), operation.completion);
    const auto& state = static_cast<const throughput::CudaRouteState&>(*operation.route.state());
    account(*operation.completion, state.completion, operation.launch.rows.bytes > 0 ? row_bytes_of(operation) : 0);
  }

  Dispatched finish_dispatch(std::size_t slot, Stream stream) override {
    throughput::CudaDispatchOperation& operation = dispatches_[slot];
    Dispatched result = std::move(operation.result);
    join(Stream(operation.launch.stream), stream, *operation.completion);
    use_result(result, stream);
    operation = {};
    return result;
  }

  void prepare_combine(std::size_t slot, transports::CombineRequest&& request, Stream stream) override {
    const device::UseDevice current(device.index);
    check(request);
    const bool capturing = enter(stream);
    Kept kept;
    use_on(stream,
           {request.y.data(), request.out.data(), request.options.bias[0].data(), request.options.bias[1].data()},
           capturing ? &kept.leases : nullptr);
    use_route(request.route, stream);
    order_.follow(stream);
    throughput::CudaCombineOperation& operation = combines_[slot];
    engine_->operations->prepare(std::move(request), stream, operation);
    if (!capturing) return;
    kept.leases.push_back(operation.y);
    kept.route = operation.route;
    kept.end = operation.completion;
    keep(std::move(kept), stream);
  }

  void start_combine(std::size_t slot) override {
    const device::UseDevice current(device.index);
    throughput::CudaCombineOperation& operation = combines_[slot];
    log(operation.descriptor);
    statistics_.bytes_copied += engine_->operations->launch(operation);
    leave(Stream(operation.launch.stream), operation.completion);
    const auto& state = static_cast<const throughput::CudaRouteState&>(*operation.route.state());
    account(*operation.completion, state.completion,
            static_cast<std::uint64_t>(options.hidden) * size_of(operation.launch.y_dtype));
  }

  Combined finish_combine(std::size_t slot, Stream stream) override {
    throughput::CudaCombineOperation& operation = combines_[slot];
    Combined result;
    result.event = Event(operation.completion);
    join(Stream(operation.launch.stream), stream, *operation.completion);
    operation = {};
    return result;
  }

  // What a graph keeps alive of one operation.
  struct Kept {
    std::vector<Lease> leases;
    Route route;
    std::shared_ptr<throughput::CudaCompletion> end;
    std::shared_ptr<CudaEngine> engine;  // what its kernel reads beside: the group may be destroyed
  };

  void keep(Kept&& kept, Stream stream) const {
    kept.engine = engine_;
    symmetric_memory::keep_in_graph(native(stream), std::make_shared<Kept>(std::move(kept)));
  }

  void use_route(const Route& route, Stream stream) const {
    const auto& state = static_cast<const throughput::CudaRouteState&>(*route.state());
    state.memory.use_on(stream);
    state.expert_ids.lease().use_on(stream);
  }

  void use_result(const Dispatched& result, Stream stream) const {
    result.rows.lease().use_on(stream);
    use_route(result.route, stream);
  }

  void join(Stream sent_on, Stream received_on, const throughput::CudaCompletion& completion) const {
    if (sent_on == received_on) return;
    const device::UseDevice current(device.index);
    order_.join(received_on, completion);
  }

  std::uint64_t row_bytes_of(const throughput::CudaDispatchOperation& operation) const {
    const auto elements = static_cast<std::uint64_t>(options.hidden);
    const std::uint64_t scales =
        operation.descriptor.has_scales ? (elements + 127) / 128 * size_of(operation.descriptor.scale_dtype) : 0;
    return elements * size_of(operation.descriptor.row_dtype) + scales;
  }

  void account(const throughput::CudaCompletion& end, const std::shared_ptr<throughput::CudaCompletion>& route,
               std::uint64_t row_bytes) {
    if (order_.is_capturing() || route->captured() || row_bytes == 0) return;
    count_wire_bytes();
    uncounted_.push_back({end.event(), route, row_bytes});
  }

  // Rows sent to, or read from, other ranks; a route's send counts say how many for both.
  void count_wire_bytes() {
    while (!uncounted_.empty() && cudaEventQuery(uncounted_.front().end.get()) == cudaSuccess) {
      const throughput::CudaDispatchResult& result = uncounted_.front().route->slot().dispatch;
      for (int peer = 0; peer < size; ++peer) {
        if (peer == rank) continue;
        statistics_.wire_bytes += static_cast<std::uint64_t>(result.send_counts[peer]) * uncounted_.front().row_bytes;
      }
      uncounted_.pop_front();
    }
  }

  void check_receive(Stream sent_on, Stream received_on) const {
    if (sent_on != received_on) order_.check_stream(received_on);
  }
  void check_receive_dispatch(std::size_t slot, Stream stream) const override {
    check_receive(Stream(dispatches_[slot].launch.stream), stream);
  }
  void check_receive_combine(std::size_t slot, Stream stream) const override {
    check_receive(Stream(combines_[slot].launch.stream), stream);
  }

  // A tensor made while its stream is captured belongs to the graph too: what is captured next uses it.
  Lease allocate_block(std::size_t bytes, Stream stream) override {
    const device::UseDevice current(device.index);
    if (native(stream) == cudaStreamPerThread) order_.check_stream(stream);
    symmetric_memory::release_from_graphs();
    Lease lease = heap().allocate(bytes, stream);
    if (lease && device::is_capturing(native(stream))) {
      Kept kept;
      kept.leases.push_back(lease);
      keep(std::move(kept), stream);
    }
    return lease;
  }

  void prepare_growth(std::size_t bytes) override {
    const device::UseDevice current(device.index);
    engine_->heap->prepare_growth(*members_, bytes, timeout_);
  }

  bool take_lost() override { return std::exchange(lost_, false); }

  [[nodiscard]] const bootstrap::AbortFlag* raised_flag() const {
    for (const bootstrap::AbortFlag* const flag : {abort_.get(), world_abort_.get()}) {
      if (flag->raised()) return flag;
    }
    return nullptr;
  }

  std::string device_failure() override {
    for (const std::weak_ptr<throughput::CudaResources>& earlier : earlier_) {
      const auto resources = earlier.lock();
      if (!resources || !resources->has_refused()) continue;
      return diagnostics::format(
          "rank {}: a graph that was captured before the group recovered was launched, and did "
          "nothing; capture it anew",
          rank);
    }
    return engine_->resources->failure();
  }
  Heap& heap() const noexcept override { return engine_->heap->own(); }
  std::chrono::nanoseconds timeout() noexcept override { return timeout_; }

  void log(const transports::Descriptor& descriptor) {
    if (!log_->enabled(LogLevel::debug)) return;
    log_->write(LogLevel::debug, diagnostics::format("rank {}: {}", rank, transports::describe(descriptor)));
  }

  std::chrono::nanoseconds timeout_;
  const bool compare_all_;                    // RAILYARD_DEBUG=1
  std::vector<topology::CudaIdentity> gpus_;  // [rank]
  SmShare sms_;
  std::unique_ptr<tuning::SmReservation> reservation_;
  bool keeps_waits_ = false;
  bool has_kept_waits_ = false;
  std::unique_ptr<throughput::CudaWaitReader> wait_reader_;
  std::unique_ptr<throughput::CudaTrace> cuda_trace_;  // or null
  std::shared_ptr<throughput::CudaRoutePool> routes_;
  std::shared_ptr<Heap> route_heap_;
  std::shared_ptr<CudaEngine> engine_;
  std::unique_ptr<throughput::CudaLateWatch> late_watch_;
  std::vector<std::weak_ptr<throughput::CudaResources>> earlier_;  // of generations before, which graphs may launch
  struct {
    std::uint64_t dispatches = 0;
    std::uint64_t combines = 0;
  } before_;                                                   // finished in earlier generations
  std::vector<throughput::CudaDispatchOperation> dispatches_;  // by slot
  std::vector<throughput::CudaCombineOperation> combines_;
  api::CudaOrder order_;
  bool lost_ = false;  // operations of before a recovery, and the caller has not been told
  std::deque<Uncounted> uncounted_;
};

}  // namespace

std::shared_ptr<GroupState> api::make_cuda_group(Rank& rank, const GroupOptions& complete_options) {
  return std::make_shared<CudaGroup>(rank, complete_options);
}

}  // namespace railyard
