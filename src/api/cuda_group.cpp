// SPDX-License-Identifier: Apache-2.0
// A group whose ranks are on GPUs: one kernel for each operation, ordered by streams and events.
//
// Order. The operations of a group run one after the other, in call order: an operation on another stream than the one
// before waits for that one's event. Within a capture the event is a captured one; between a graph and other work the
// caller orders, as for any graph. `receive` only makes its stream wait for the send part's kernel.
#include "api/group_options.hpp"
#include "api/group_state.hpp"
#include "api/test_hooks.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"
#include "symmetric_memory/cuda_graph_owner.hpp"
#include "symmetric_memory/cuda_region.hpp"
#include "symmetric_memory/cuda_release_order.hpp"
#include "symmetric_memory/symmetric_heap.hpp"
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
#include <set>
#include <utility>
#include <vector>

namespace railyard {
namespace {

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

std::shared_ptr<SymmetricHeap> make_heap(Rank& rank, const GroupOptions& options,
                                         const std::vector<topology::CudaIdentity>& gpus) {
  const int device = rank.device().index;
  const auto make = [&] {
    const std::vector<int> visible = topology::visible_devices(gpus);
    topology::check_peer_access(visible);
    auto region = std::make_unique<symmetric_memory::CudaRegion>(
        device, options.heap_limit_bytes, rank.bootstrap()->one_process() ? visible : std::vector<int>{device});
    return std::make_shared<Heap>(std::move(region), options.heap_bytes,
                                  std::make_shared<symmetric_memory::CudaReleaseOrder>(device));
  };
  const auto map = [&] {
    return std::make_unique<symmetric_memory::CudaPeerMapping>(device, options.heap_limit_bytes);
  };
  return std::make_shared<SymmetricHeap>(*rank.bootstrap(), options.heap_bytes,
                                         symmetric_memory::HeapKind{.make = make, .map = map},
                                         api::deadline_of(rank, options));
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

// A destroyed group whose latest operation still runs: what its kernel uses stays until it has ended.
struct Retired {
  std::shared_ptr<CUevent_st> end;
  std::shared_ptr<SymmetricHeap> heap;
  std::shared_ptr<throughput::CudaOperations> operations;
  std::unique_ptr<tuning::SmReservation> reservation;
  std::shared_ptr<void> abort_watches[2];  // it still hears an abort
};

class RetiredGroups {
 public:
  void add(Retired group) {
    const std::lock_guard lock(mutex_);
    groups_.push_back(std::move(group));
  }
  /// Lets go of those that have ended. Looked at whenever a group is made or destroyed.
  void release() {
    std::vector<Retired> ended;  // destroyed after the lock
    {
      const std::lock_guard lock(mutex_);
      const auto running = std::partition(groups_.begin(), groups_.end(), [](const Retired& group) {
        return cudaEventQuery(group.end.get()) == cudaErrorNotReady;
      });
      std::move(running, groups_.end(), std::back_inserter(ended));
      groups_.erase(running, groups_.end());
    }
  }

 private:
  std::mutex mutex_;
  std::vector<Retired> groups_;
};

RetiredGroups& retired_groups() {
  static auto* const groups = new RetiredGroups;  // never destroyed: CUDA may end first
  return *groups;
}

class CudaGroup final : public GroupState {
 public:
  CudaGroup(Rank& owner, const GroupOptions& complete_options)
      : GroupState(owner, complete_options),
        timeout_(api::deadline_of(owner, options)),
        dispatches_(static_cast<std::size_t>(options.max_in_flight)),
        combines_(static_cast<std::size_t>(options.max_in_flight)) {
    const device::UseDevice current(device.index);
    symmetric_memory::release_from_graphs();
    retired_groups().release();
    symmetric_memory::CudaReleaseOrder::release_retired();
    api::compare_options(options, device.kind, *bootstrap_, timeout_);
    const std::vector<topology::CudaIdentity> gpus = gather_gpus(owner, timeout_);
    const auto ranks_on_gpu = std::count(gpus.begin(), gpus.end(), gpus[static_cast<std::size_t>(rank)]);
    if (bootstrap_->one_process()) {
      ranks_here_ = ranks_on_gpu;
    } else if (ranks_on_gpu > 1) {
      warn_of_shared_gpu(ranks_on_gpu);
    }
    const int available = topology::available_sms(device.index);
    const SmShare sms = share_sms(options, available, ranks_on_gpu);
    warn_of_hidden_gpus(gpus);
    heap_ = make_heap(owner, options, gpus);
    // From here on a rank that fails lets the others' barrier name it.
    reservation_ = tuning::reserve_sms(device.index, available, std::max(sms.copy, sms.quantise),
                                       diagnostics::format("a group of rank {}", rank));
    resources_ = std::make_shared<throughput::CudaResources>(
        rank, device.index, options.placement.local_experts(rank),
        throughput::CudaResources::AbortFlags{abort_, bootstrap_->abort_flag()});
    set_timeout(timeout_);
    statistics_.num_sms = std::max(sms.copy, sms.quantise);
    load_kernels();
    wait_reader_ = std::make_unique<throughput::CudaWaitReader>(size);
    if (owner.trace()) start_trace(*owner.trace());
    operations_ = std::make_shared<throughput::CudaOperations>(
        throughput::CudaOperationsOptions{.group = &options,
                                          .rank = rank,
                                          .num_ranks = size,
                                          .device = device,
                                          .num_sms = sms.copy,
                                          .num_sms_quantise = sms.quantise,
                                          .first_epoch = options.testing ? options.testing->first_epoch : 0,
                                          .compare_all = owner.debug() > 0,
                                          .trace = cuda_trace_ ? cuda_trace_->records() : nullptr},
        heap_,
        std::make_shared<Heap>(
            std::make_unique<symmetric_memory::CudaRegion>(device.index, kRouteLimit, std::vector<int>{device.index}),
            0, std::make_shared<symmetric_memory::CudaReleaseOrder>(device.index)),
        resources_);
    // The device sees an abort of the world, or of the group, in pinned memory.
    abort_watch_ = abort_->watch([control = resources_] { raise_abort(*control); });
    world_abort_watch_ = bootstrap_->abort_flag()->watch([control = resources_] { raise_abort(*control); });
    // Nobody launches before everybody's control words have their first values and every kernel is loaded.
    bootstrap_->all_gather(nullptr, nullptr, 0, "created a group", timeout_);
  }

  ~CudaGroup() override {
    const device::UseDevice current(device.index);
    if (captured_end_) resources_->events().recycle(captured_end_);
    if (cuda_trace_) end_trace();
    retired_groups().release();
    if (latest_ && cudaEventQuery(latest_.get()) == cudaErrorNotReady) {
      retired_groups().add({latest_, heap_, operations_, std::move(reservation_), {abort_watch_, world_abort_watch_}});
    }
  }

  api::GroupFacts facts() const override {
    return {.options = options,
            .placement = options.placement,
            .rank = rank,
            .device = device,
            .routes = operations_->routes().get(),
            .heap = heap_->own().base(),
            .heap_limit = heap_->own().limit()};
  }

  void set_timeout(std::chrono::nanoseconds timeout) override {
    timeout_ = timeout;
    std::atomic_ref(resources_->control()->timeout_ns)
        .store(static_cast<std::uint64_t>(timeout.count()), std::memory_order_relaxed);
  }

  GroupStatistics statistics() override {
    const device::UseDevice current(device.index);
    if (cuda_trace_) cuda_trace_->drain();
    count_wire_bytes();
    return GroupState::statistics();
  }

  WaitStatistics wait_statistics() const override {
    const device::UseDevice current(device.index);
    return wait_reader_->read(operations_->wait_table());
  }

 private:
  // An operation whose bytes are not counted yet: they are known when it, and its route, have ended.
  struct Uncounted {
    std::shared_ptr<CUevent_st> end;
    std::shared_ptr<throughput::CudaCompletion> route;
    std::uint64_t row_bytes = 0;
  };

  static void raise_abort(const throughput::CudaResources& resources) {
    std::atomic_ref(resources.control()->abort).store(1, std::memory_order_release);
  }

  void warn_of_shared_gpu(std::ptrdiff_t ranks) const {
    log_->write(LogLevel::warn,
                diagnostics::format("rank {}: {} processes share cuda:{}; without MPS the GPU runs one at a time, and "
                                    "operations that wait for each other take milliseconds: give each rank a GPU",
                                    rank, ranks, device.index));
  }

  // What this process does not see it cannot ask about; memory of such a GPU can be mapped over PCIe too.
  void warn_of_hidden_gpus(const std::vector<topology::CudaIdentity>& gpus) const {
    const std::set<topology::CudaIdentity> all(gpus.begin(), gpus.end());
    const std::size_t visible = topology::visible_devices(gpus).size();
    if (visible == all.size()) return;
    log_->write(LogLevel::warn,
                diagnostics::format("rank {}: {} of the group's {} GPUs are not visible to this process "
                                    "(CUDA_VISIBLE_DEVICES); whether NVLink joins them to cuda:{} was not checked",
                                    rank, all.size() - visible, all.size(), device.index));
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
    if (const std::string failure = resources_->failure(); !failure.empty()) trace_->fail(failure);
  }

  void check_default_stream(Stream stream) const {
    if (native(stream) == cudaStreamPerThread) {
      throw Error(ErrorCode::invalid_argument,
                  "cudaStreamPerThread, which is another stream in every thread; leases and events may be used in any: "
                  "pass a stream of your own");
    }
    if (ranks_here_ == 1 || (stream.native() && native(stream) != cudaStreamLegacy)) return;
    throw Error(ErrorCode::invalid_argument,
                diagnostics::format("the default stream, with {} ranks on cuda:{}; it orders their kernels, which wait "
                                    "for each other: give each rank a stream made with cudaStreamNonBlocking",
                                    ranks_here_, device.index));
  }

  void check_device_of([[maybe_unused]] Stream stream) const {
#if CUDART_VERSION >= 12080
    if (!stream.native()) return;
    int owner = 0;
    device::require_cuda(cudaStreamGetDevice(native(stream), &owner), "asking a stream for its device");
    if (owner != device.index) {
      throw Error(ErrorCode::invalid_argument,
                  diagnostics::format("a stream of cuda:{}; rank {} is on cuda:{}", owner, rank, device.index));
    }
#endif
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

  // Later work on `stream` comes after the group's latest operation. Returns whether the stream is being captured.
  bool enter(Stream stream) {
    symmetric_memory::release_from_graphs();
    if (cuda_trace_) cuda_trace_->drain();
    check_default_stream(stream);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    unsigned long long capture = 0;
    device::require_cuda(cudaStreamGetCaptureInfo(native(stream), &status, &capture), "asking about a capture");
    if (status == cudaStreamCaptureStatusInvalidated) {
      throw Error(ErrorCode::unsupported, "the stream's capture has been invalidated by an earlier call; end it first");
    }
    const bool capturing = status == cudaStreamCaptureStatusActive;
    capture_ = capturing ? capture : 0;
    if (!capturing) check_device_of(stream);  // CUDA does not answer about a stream that is captured
    return capturing;
  }

  void follow(Stream stream) {
    if (capture_ != 0) {
      if (captured_end_ && captured_in_ == capture_ && captured_on_ != stream) {
        device::require_cuda(cudaStreamWaitEvent(native(stream), captured_end_, 0), "ordering operations");
      }
    } else if (latest_ && latest_on_ != stream) {
      device::require_cuda(cudaStreamWaitEvent(native(stream), latest_.get(), 0), "ordering operations");
    }
  }

  void leave(Stream stream, const std::shared_ptr<throughput::CudaCompletion>& completion) {
    completion->launched(native(stream), capture_ != 0);
    if (capture_ == 0) {
      latest_ = completion->event();
      latest_on_ = stream;
      return;
    }
    if (captured_end_) resources_->events().recycle(captured_end_);
    captured_end_ = resources_->events().record(native(stream));
    if (!captured_end_) throw Error(ErrorCode::unsupported, "CUDA refused the event that ends a captured operation");
    captured_in_ = capture_;
    captured_on_ = stream;
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
      Lease lease = heap_->own().lease_of(pointer);
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
    follow(stream);
    throughput::CudaDispatchOperation& operation = dispatches_[slot];
    operations_->prepare(std::move(request), stream, operation);
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
    operations_->launch(operation);
    try {
      operations_->add_load(operation);
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
    follow(stream);
    throughput::CudaCombineOperation& operation = combines_[slot];
    operations_->prepare(std::move(request), stream, operation);
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
    statistics_.bytes_copied += operations_->launch(operation);
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
    // What its kernel reads beside: the group may be destroyed.
    std::shared_ptr<SymmetricHeap> heap;
    std::shared_ptr<throughput::CudaOperations> operations;
  };

  void keep(Kept&& kept, Stream stream) const {
    kept.heap = heap_;
    kept.operations = operations_;
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

  // Later work on the receive part's stream comes after the operation.
  void join(Stream sent_on, Stream received_on, const throughput::CudaCompletion& completion) {
    if (sent_on == received_on) return;
    const device::UseDevice current(device.index);
    const auto event = completion.captured() ? captured_end_ : static_cast<cudaEvent_t>(completion.native());
    device::require_cuda(cudaStreamWaitEvent(native(received_on), event, 0), "receiving an operation");
  }

  std::uint64_t row_bytes_of(const throughput::CudaDispatchOperation& operation) const {
    const auto elements = static_cast<std::uint64_t>(options.hidden);
    const std::uint64_t scales =
        operation.descriptor.has_scales ? (elements + 127) / 128 * size_of(operation.descriptor.scale_dtype) : 0;
    return elements * size_of(operation.descriptor.row_dtype) + scales;
  }

  void account(const throughput::CudaCompletion& end, const std::shared_ptr<throughput::CudaCompletion>& route,
               std::uint64_t row_bytes) {
    if (capture_ != 0 || route->captured() || row_bytes == 0) return;
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
    if (sent_on != received_on) check_default_stream(received_on);
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
    if (native(stream) == cudaStreamPerThread) check_default_stream(stream);
    symmetric_memory::release_from_graphs();
    Lease lease = heap_->own().allocate(bytes, stream);
    if (lease && device::is_capturing(native(stream))) {
      Kept kept;
      kept.leases.push_back(lease);
      keep(std::move(kept), stream);
    }
    return lease;
  }

  void prepare_growth(std::size_t bytes) override {
    const device::UseDevice current(device.index);
    heap_->prepare_growth(*bootstrap_, bytes, timeout_);
  }

  std::string device_failure() override { return resources_->failure(); }
  Heap& heap() const noexcept override { return heap_->own(); }
  std::chrono::nanoseconds timeout() noexcept override { return timeout_; }

  void log(const transports::Descriptor& descriptor) {
    if (!log_->enabled(LogLevel::debug)) return;
    log_->write(LogLevel::debug, diagnostics::format("rank {}: {}", rank, transports::describe(descriptor)));
  }

  std::chrono::nanoseconds timeout_;
  std::ptrdiff_t ranks_here_ = 1;  // on this device, in this process
  std::shared_ptr<SymmetricHeap> heap_;
  std::unique_ptr<tuning::SmReservation> reservation_;
  std::shared_ptr<throughput::CudaResources> resources_;
  std::shared_ptr<throughput::CudaOperations> operations_;
  std::unique_ptr<throughput::CudaWaitReader> wait_reader_;
  std::unique_ptr<throughput::CudaTrace> cuda_trace_;  // or null
  std::shared_ptr<void> abort_watch_;
  std::shared_ptr<void> world_abort_watch_;
  std::vector<throughput::CudaDispatchOperation> dispatches_;  // by slot
  std::vector<throughput::CudaCombineOperation> combines_;
  std::shared_ptr<CUevent_st> latest_;  // the end of the latest operation outside captures
  Stream latest_on_;
  unsigned long long capture_ = 0;      // of the operation under way; 0: none
  cudaEvent_t captured_end_ = nullptr;  // the latest operation inside one
  unsigned long long captured_in_ = 0;
  Stream captured_on_;
  std::deque<Uncounted> uncounted_;
};

}  // namespace

std::shared_ptr<GroupState> api::make_cuda_group(Rank& rank, const GroupOptions& complete_options) {
  return std::make_shared<CudaGroup>(rank, complete_options);
}

}  // namespace railyard
