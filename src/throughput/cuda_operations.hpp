// SPDX-License-Identifier: Apache-2.0
// The operations of one CUDA group at one rank: from validated calls to launches, leases and results.
#pragma once

#include "routing/block_layout.hpp"
#include "symmetric_memory/symmetric_heap.hpp"
#include "throughput/cuda_group_memory.hpp"
#include "throughput/cuda_route_state.hpp"
#include "transports/combine_request.hpp"
#include "transports/dispatch_operation.hpp"

#include <railyard/group.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace railyard::throughput {

struct CudaOperationsOptions {
  const GroupOptions* group = nullptr;
  int rank = 0;
  int num_ranks = 0;
  std::vector<int> members;  // ranks that take part, ascending
  Device device{};
  int num_sms = 0;           // of dispatches that copy, and of combines
  int num_sms_quantise = 0;  // of dispatches that quantise
  std::uint64_t first_epoch = 0;
  std::uint64_t first_route = 0;
  bool compare_all = false;                // RAILYARD_DEBUG=1
  std::shared_ptr<CudaTraceRecord> trace;  // [kCudaTraceRecords] pinned, cleared; null: not traced
};

/// One dispatch from its send part to its receive part.
struct CudaDispatchOperation {
  DispatchLaunch launch;
  transports::Descriptor descriptor;
  Route route;
  Lease payload;
  TensorView expert_load;
  std::shared_ptr<CudaCompletion> completion;
  Dispatched result;
};

struct CudaCombineOperation {
  CombineLaunch launch;
  transports::Descriptor descriptor;
  Route route;
  Lease y;  // of y, or of its copy
  // The copy of a y outside the heap; rows = 0: none.
  struct {
    const void* from = nullptr;
    std::size_t from_pitch = 0;
    std::size_t row_bytes = 0;
    std::size_t rows = 0;
  } copy;
  std::shared_ptr<CudaCompletion> completion;
};

/// The device is current in every call. Preparing throws without a trace; launching throws only if CUDA refuses.
class CudaOperations {
 public:
  /// Local, but a barrier follows before the first launch. Throws RY-HEAP-EXHAUSTED if the heap is too small for the
  /// group's own memory, RY-OUT-OF-MEMORY.
  CudaOperations(const CudaOperationsOptions& options, std::shared_ptr<symmetric_memory::SymmetricHeap> heap,
                 std::shared_ptr<symmetric_memory::Heap> route_heap, std::shared_ptr<CudaRoutePool> routes,
                 std::shared_ptr<CudaResources> resources);

  void prepare(transports::DispatchRequest&& request, Stream stream, CudaDispatchOperation& operation);
  void launch(CudaDispatchOperation& operation);
  /// Behind a launched dispatch: adds its entries to the caller's statistics.
  void add_load(const CudaDispatchOperation& operation);
  void prepare(transports::CombineRequest&& request, Stream stream, CudaCombineOperation& operation);
  /// Returns the bytes of y that were copied into the heap.
  std::uint64_t launch(CudaCombineOperation& operation);

  /// Operations of one kind that have ended well, by the device's count.
  struct Finished {
    std::uint64_t dispatches = 0;  // routes too
    std::uint64_t combines = 0;
  };
  /// Once every launch has ended. Later ones, of graphs, end at once.
  [[nodiscard]] Finished close();
  /// Whether later operations say whom they waited for.
  void set_timed(bool timed) noexcept { timed_ = timed; }
  /// Larger than the number of every route so far.
  [[nodiscard]] std::uint64_t next_route() const noexcept { return latest_route_id_ + 1; }
  /// In device memory.
  [[nodiscard]] CudaWaitTable* wait_table() const noexcept { return &group_.state->waits; }
  /// CudaGroup::peers.
  [[nodiscard]] std::uint64_t peers() const noexcept { return group_.peers(); }

 private:
  [[nodiscard]] Lease route_memory(std::size_t bytes, Stream stream);
  [[nodiscard]] CudaRouteState* make_route(const transports::DispatchRequest& request, Stream stream);
  void grant(const transports::DispatchRequest& request, Stream stream, CudaDispatchOperation& operation,
             CudaRouteState& state);
  void place_results(const transports::DispatchRequest& request, const routing::RowShape& shape,
                     CudaDispatchOperation& operation, const CudaRouteState& state);
  void offer(const transports::CombineRequest& request, Stream stream, CudaCombineOperation& operation,
             CudaRouteState& state);

  CudaOperationsOptions options_;
  const Placement& placement_;
  std::shared_ptr<symmetric_memory::SymmetricHeap> heap_;
  std::shared_ptr<symmetric_memory::Heap> route_heap_;  // of this rank alone; grows
  std::shared_ptr<CudaResources> resources_;
  std::shared_ptr<CudaRoutePool> routes_;
  CudaGroupMemory layout_;
  Lease memory_;  // at offset 0 of every heap: its first block
  CudaGroup group_;
  CudaPlacement device_placement_;
  std::uint64_t latest_route_id_ = 0;
  bool timed_ = false;
};

}  // namespace railyard::throughput
