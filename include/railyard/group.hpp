// SPDX-License-Identifier: Apache-2.0
// A group: ranks with one configuration, one heap each, and one order of operations.
#pragma once

#include <railyard/combine.hpp>
#include <railyard/dispatch.hpp>
#include <railyard/export.hpp>
#include <railyard/placement.hpp>
#include <railyard/route.hpp>
#include <railyard/stream.hpp>
#include <railyard/tensor.hpp>
#include <railyard/types.hpp>
#include <railyard/wait_statistics.hpp>
#include <railyard/world.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace railyard {

struct TestHooks;  // src/api/test_hooks.hpp

/// Equal on all ranks (found at creation, naming the field and both values), except `timeout` and `num_sms`.
struct GroupOptions {
  int num_experts = 0;  // in [1, 1'048'576]
  int max_top_k = 0;    // in [1, 32]
  int max_tokens = 0;   // most tokens a rank sends in one dispatch, in [0, 16'777'216]
  int hidden = 0;       // elements per row, a multiple of 8, in [8, 1'048'576]
  Mode mode = Mode::throughput;
  /// The widest element of a row in this group; sizes wire slots and the default heap.
  DType row_dtype = DType::bf16;
  /// Empty: even blocks.
  Placement placement = {};
  ReductionLevels levels = ReductionLevels::rank;
  ReductionOrder order = ReductionOrder::rank_ascending;  // must be rank_ascending when levels = none
  OverflowPolicy overflow = OverflowPolicy::error;
  /// Send parts of one kind (dispatch, combine) that may be pending, in [1, 16].
  int max_in_flight = 2;
  /// Budget of each rank's heap. 0: `Group::bytes_needed`. On CUDA a rank takes memory for the routes that it keeps
  /// beside it, about (8 min(top_k, ranks) + 4 top_k) bytes per token, in steps of 2 MB.
  std::size_t heap_bytes = 0;
  /// Address space reserved for `grow_heap`. 0: as large as the heap, which then cannot grow.
  std::size_t heap_limit_bytes = 0;
  /// CUDA: the most SMs that an operation takes, every kernel of it, in [1, 64]. 0: 16, or 20 for dispatches that
  /// quantise, or what this device's ranks can have together. All ranks of one device take theirs at the same time.
  /// Beside much computation, which lowers the clocks, 24 keep the links full (docs/measurements).
  int num_sms = 0;
  /// CUDA: how processes map each other's heaps. Empty: RAILYARD_GPU_HANDLES, or fd. A group whose GPUs, driver or
  /// process do not have fabric handles is refused (RY-UNSUPPORTED, on every rank, with the reason and what to do),
  /// also where all ranks are threads of one process, which hand nothing over.
  std::optional<GpuHandles> gpu_handles = {};
  /// Deadline of every wait. 0: the world's. A tenth of it without progress logs a warning naming the missing peers.
  std::chrono::nanoseconds timeout{0};
  /// When a deadline passes.
  TimeoutPolicy on_timeout = TimeoutPolicy::error;
  /// For the library's tests.
  const TestHooks* testing = nullptr;
};

/// What the ranks of a group agreed on when it recovered.
struct Recovery {
  std::vector<int> masked;  // all ranks that the group goes on without, ascending
  /// Where the group is: operations since its creation that every rank that goes on had finished. Routes count as
  /// dispatches; an operation in parts is finished when it has been received. What a rank had finished ahead of the
  /// others is not counted: `aligned` is false then, and the program decides where all go on, from there or later.
  std::uint64_t dispatches = 0;
  std::uint64_t combines = 0;
  bool aligned = true;  // every rank had finished the same
};

/// Counted since creation, at this rank.
struct GroupStatistics {
  std::uint64_t dispatches = 0;
  std::uint64_t combines = 0;
  std::uint64_t routes = 0;        // routes made without rows
  std::uint64_t wire_bytes = 0;    // payload and scales that this rank wrote to, or read from, other ranks
  std::uint64_t bytes_copied = 0;  // combine inputs outside the heap, copied into it first
  std::size_t heap_bytes = 0;
  std::size_t heap_bytes_in_use = 0;
  std::size_t heap_bytes_peak = 0;
  int num_sms = 0;  // most SMs of one operation; 0 on the host
};

/// One rank's handle. Calls marked *collective* are made by all ranks, in the same order; each may be refused before
/// anything is sent (an Error with value and limit), consumes nothing then, and may be repeated with other arguments
/// while the peers wait. Calls captured into a CUDA graph count like others: all ranks capture the same ones, as often.
/// Replays are the caller's to order, by one stream or by events, with each other and with calls: one that begins on a
/// rank while another of its kind runs suspends the group (RY-IN-FLIGHT of the operation, then RY-SUSPENDED).
/// One thread at a time per handle; `abort` and lease releases from any thread.
///
/// After RY-TIMEOUT, RY-OPERATION-MISMATCH, RY-ABORTED or such an overlap it is suspended: every later call throws
/// RY-SUSPENDED, what was leased before stays readable, and a new group on the same world works as long as no process
/// has gone. What the interrupted operation would have written is undefined. `recover` makes a suspended group work
/// again. Destroying a group is local and never waits (on CUDA: for a line that it is logging, and with RAILYARD_TRACE
/// up to 200 ms for the GPU's clock). Leases, routes and tensors may outlive it.
class RAILYARD_API Group {
 public:
  /// Collective. Throws RY-INVALID-ARGUMENT, RY-UNSUPPORTED (what the device or its backend cannot do, SMs that others
  /// have reserved), RY-CONFIG-MISMATCH, RY-OUT-OF-MEMORY, RY-TIMEOUT, RY-ABORTED, and
  /// RY-HEAP-EXHAUSTED if heap_bytes is too small for the group's own memory.
  Group(Rank& rank, const GroupOptions& options);
  Group(Group&&) noexcept;
  Group& operator=(Group&&) noexcept;
  ~Group();

  /// Bytes of heap for `max_in_flight` dispatches of worst-case capacity in `layout`, held together with as many
  /// combine inputs, and the group's own control and wire memory. Does not allocate. Throws like the constructor.
  [[nodiscard]] static std::size_t bytes_needed(const GroupOptions& options, int world_size,
                                                Layout layout = Layout::rank_major,
                                                DeviceKind device = DeviceKind::host);

  [[nodiscard]] int rank() const;
  [[nodiscard]] int size() const;
  [[nodiscard]] const GroupOptions& options() const;
  [[nodiscard]] int local_experts() const;

  /// Collective. Sends row t of `x` (`[tokens, hidden]`, any row stride) to the ranks of `top_k_ids` (`[tokens,
  /// top_k]`, int32 or int64, contiguous; -1 = none) and returns what arrived here, and the route.
  Dispatched dispatch(ConstTensorView x, ConstTensorView top_k_ids, const DispatchOptions& options = {},
                      Stream stream = {});
  /// Collective. The same along an existing route of this group.
  Dispatched dispatch(ConstTensorView x, const Route& route, const PayloadOptions& options = {}, Stream stream = {});
  /// Collective. The send parts alone. In low_latency mode they wait for no other rank's part of the same operation.
  [[nodiscard]] PendingDispatch dispatch_send(ConstTensorView x, ConstTensorView top_k_ids,
                                              const DispatchOptions& options = {}, Stream stream = {});
  [[nodiscard]] PendingDispatch dispatch_send(ConstTensorView x, const Route& route, const PayloadOptions& options = {},
                                              Stream stream = {});

  /// Collective. A route without rows.
  [[nodiscard]] Route route(ConstTensorView top_k_ids, const RouteOptions& options = {}, Stream stream = {});
  /// Collective. A rank_major route from a token x rank mask: uint8 `[tokens, ranks]`, nonzero = send. Throughput mode.
  [[nodiscard]] Route route_from_mask(ConstTensorView mask, const RouteOptions& options = {}, Stream stream = {});

  /// Collective. out[t] = biases + the rows of `y` that token t was sent to, reduced as the group's options say,
  /// rounded once to out's dtype (bf16, fp16 or fp32). `y` (bf16, fp16 or fp32) has the shape of the dispatched rows,
  /// or (not in expert_slots) fewer rows as long as all that hold a token are there; allocated from the group it is
  /// read in place, otherwise copied into the heap first (counted in the statistics). What begins in the heap must end
  /// in the same lease. A token without rows gets its biases, or +0.
  Combined combine(ConstTensorView y, const Route& route, TensorView out, const CombineOptions& options = {},
                   Stream stream = {});
  [[nodiscard]] PendingCombine combine_send(ConstTensorView y, const Route& route, TensorView out,
                                            const CombineOptions& options = {}, Stream stream = {});

  /// Local. A tensor in this rank's heap; rows are padded to 16 bytes. Throws RY-HEAP-EXHAUSTED with bytes wanted and
  /// free.
  [[nodiscard]] Tensor allocate(std::initializer_list<std::int64_t> shape, DType dtype, Stream stream = {});
  /// Collective. Adds `bytes` to every rank's heap, up to heap_limit_bytes. RY-OUT-OF-MEMORY (on every rank, if one was
  /// refused memory), RY-TIMEOUT and RY-OPERATION-MISMATCH of this call change nothing, and it may be repeated.
  void grow_heap(std::size_t bytes);

  /// Collective, of the ranks that are left: they agree on who goes on and on the next epoch, and the group works
  /// again, without the others. Returns when it does. On CUDA, graphs with operations of this group that were launched
  /// must have ended; those captured before must be captured anew, and launching one suspends the group. It closes as
  /// soon as all have come whose process has not gone, or else when one that has come has waited for its deadline; then
  /// the others are masked, and told so by RY-MASKED when they come. More than half of the group's last ranks must
  /// come, or half with the lowest of them. A rank that waits for peers in an operation, or calls one, when another has
  /// called this gets RY-ABORTED or RY-SUSPENDED naming the caller; it calls `recover` too. (`grow_heap` waits for its
  /// own deadline.) Allowed at any time, also with nobody to mask.
  ///
  /// Afterwards ranks, experts and shapes are numbered as before. Ids of experts on masked ranks count as -1, masked
  /// ranks have no tokens: results are those of the same calls with such ids. Routes and send parts of before are
  /// refused. The heap is a new one of the same size, for which there must be room; no byte of the old one is handed
  /// out again (a masked rank that lives may still write there), and it is freed with its last lease.
  ///
  /// Throws RY-MASKED (the others go on without this rank, which can do nothing here but `rejoin`), RY-NO-MAJORITY
  /// (too few came; may be repeated), RY-OUT-OF-MEMORY, RY-TIMEOUT and RY-ABORTED if a rank is lost meanwhile or
  /// `abort` is called (may be repeated), RY-TIMEOUT on CUDA if work before the group's latest operation on its stream
  /// has not ended (may be repeated), and RY-ABORTED for good once the world was aborted or, between processes, rank
  /// 0's has gone.
  Recovery recover();
  /// Called by a rank that is masked (RY-MASKED), while the others call `recover`: takes part in that recovery, with
  /// fresh memory, and goes on with them. Waits for it up to the group's deadline, then throws RY-TIMEOUT, and may be
  /// repeated. Otherwise throws as `recover` does, and RY-INVALID-ARGUMENT on a rank that is not masked. Nobody is told
  /// that it waits: the program decides when the others recover. Not yet there: a process that takes the place of one
  /// that has gone.
  Recovery rejoin();
  /// Local. The latest, also by TimeoutPolicy::mask; of none yet nothing is masked and the counts are 0.
  [[nodiscard]] Recovery last_recovery() const;
  /// Local. Whether operations would be refused. In a group with TimeoutPolicy::mask an operation calls `recover` first
  /// then (receive parts and `allocate` do not), and runs if the ranks are aligned: each calls the operation that no
  /// rank has finished, again or for the first time. If they are not, it throws RY-OPERATION-MISMATCH on every rank
  /// (on CUDA also on a rank whose earlier calls came to nothing after they had returned, if no error has said so),
  /// has sent nothing, and the group works: see last_recovery(). Operations along a route of before are refused after
  /// the recovery: begin again with their dispatch. While send parts of before are held it throws RY-SUSPENDED: drop
  /// them.
  [[nodiscard]] bool is_suspended() const;
  /// Local. Ranks that the group goes on without, ascending.
  [[nodiscard]] std::vector<int> masked_ranks() const;

  /// Local. The deadline of later waits.
  void set_timeout(std::chrono::nanoseconds timeout);
  [[nodiscard]] GroupStatistics statistics() const;
  /// Local. On the host they are always kept. On CUDA of the operations on the device since
  /// set_wait_statistics(true), or with RAILYARD_TRACE; waits for a small kernel there, for no operation.
  /// An operation whose successor begins at this moment may be missing, until the next reading. RY-UNSUPPORTED if
  /// neither was asked for.
  [[nodiscard]] WaitStatistics wait_statistics() const;
  /// Local, on CUDA: from the next operation on kernels say whom they waited for, or no longer. It costs an operation
  /// some tenths of a microsecond. A graph goes on as it was captured.
  void set_wait_statistics(bool kept);
  /// Ends this rank's running wait, or `recover`, with RY-ABORTED and suspends the group here. Any thread; never
  /// blocks.
  void abort(std::string_view reason = "abort() was called");

 private:
  std::shared_ptr<GroupState> state_;
};

}  // namespace railyard
