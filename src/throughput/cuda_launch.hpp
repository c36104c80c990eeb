// SPDX-License-Identifier: Apache-2.0
// Launches of the throughput kernels: what the host gives, what the device leaves. Plain pointers and sizes.
//
// One kernel per operation, on the device that is current in the calling thread. Each launch runs exactly `num_blocks`
// blocks of kCudaThreads threads, one per SM (their registers allow no second one); all of them, on all ranks that
// share a device, must be resident at once, which the caller guarantees. Launches of one group are ordered by the
// caller (same stream, or events), in the same order on all ranks; kernels read no host value at run time but
// CudaHostControl, so a captured launch may be replayed: its grant then is granted again. Epochs and slots are counted
// in device memory. A launch function throws railyard::Error (invalid_argument, unsupported) before launch with value
// and limit, out_of_memory or unsupported with CUDA's words if the launch is refused; then no epoch is consumed.
#pragma once

#include "throughput/cuda_block_layout.hpp"
#include "throughput/cuda_group.hpp"

#include <railyard/error.hpp>
#include <railyard/types.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace railyard::throughput {

inline constexpr int kCudaThreads = 512;
inline constexpr int kCudaMaxTopK = 32;
inline constexpr int kCudaMaxBlocks = 1024;

/// Where one (token, destination) pair went: element of CudaRoute::transfers.
struct alignas(8) CudaTransfer {
  static constexpr std::int32_t kNone = -1;  // unused, or left out by policy `drop`; may lie between used ones
  static constexpr std::int32_t kLost = -2;  // did not fit: the token's combine is NaN
  std::int32_t row;
  std::int32_t rank;
};

/// A route's memory at its source, device memory of this rank, written by the launch that makes the route and read by
/// every later one that uses it. Its owner keeps it alive as long as the route.
struct CudaRoute {
  CudaTransfer* transfers = nullptr;  // [max_tokens, slots], in the order in which combine adds; unused: row kNone
  std::int32_t* experts = nullptr;    // [max_tokens, top_k] checked ids, -1 = none
  std::int32_t* sizes = nullptr;      // [2] tokens of the route here, rows that it brings here
  int top_k = 0;
  int max_tokens = 0;  // rows of the ids

  [[nodiscard]] static constexpr int slots(int top_k, int num_ranks) { return top_k < num_ranks ? top_k : num_ranks; }
  [[nodiscard]] constexpr int slots(int num_ranks) const { return slots(top_k, num_ranks); }
};

/// What a launch leaves, in device memory and, if asked, in pinned memory; read it after the launch has completed on
/// its stream.
struct CudaDispatchResult {
  Status status;                 // as Route::status; routed dispatch: heap_exhausted, or ok for the caller to merge
  std::int64_t num_tokens = 0;   // of this source
  std::int64_t num_rows = 0;     // that hold a token here
  std::int64_t num_dropped = 0;  // whole group, policy `drop`
  std::int64_t entry_ns = 0;     // %globaltimer when the kernel began, and when all peers were there
  std::int64_t exchanged_ns = 0;
  std::uint64_t epoch = 0;
  std::uint32_t wait_code = 0;  // railyard::ErrorCode: ok, or why the kernel ended early (see CudaWaitReport)
  std::int32_t send_counts[kCudaMaxRanks] = {};     // rows, after dropping
  std::int32_t receive_counts[kCudaMaxRanks] = {};  // rows, after dropping
};

struct CudaCombineResult {
  Status status;  // heap_exhausted (a rank could not offer its rows), or ok for the caller to merge
  std::uint64_t epoch = 0;
  std::uint32_t wait_code = 0;
};

/// Constant over the life of a group, device memory of this rank.
struct CudaPlacement {
  int num_experts = 0;
  int max_local_experts = 0;
  static constexpr std::uint8_t kNoRank = 0xFF;  // the expert's rank is no member: its ids count as -1
  const std::uint8_t* rank_of_expert = nullptr;  // [experts]
  const std::int32_t* first_expert = nullptr;    // [ranks + 1]
};

/// What this rank grants to all. `capacity` is in [0, 2^31); 0 with code heap_exhausted. Offsets from this rank's heap
/// base, multiples of 256; ignored where the operation has no such block.
struct CudaGrant {
  ErrorCode code = ErrorCode::ok;
  std::int64_t capacity = 0;
  std::uint64_t payload_offset = 0;
  std::uint64_t metadata_offset = 0;
  std::uint64_t wanted_bytes = 0;
  std::uint64_t free_bytes = 0;
  std::int64_t rows_needed = 0;  // routed dispatch: rows that the route brings here
};

/// How rows become wire rows.
enum class CudaEncode : std::uint8_t {
  copy,              // bytes as they are, with given scales or without
  bf16_to_fp8_e4m3,  // quantised in flight, one fp32 scale per 128 elements
};

/// Caller's rows. Any address, pitch and size; 16-byte aligned ones take the fast path.
struct CudaRows {
  const std::byte* data = nullptr;    // may be null without tokens
  std::size_t pitch = 0;              // bytes from row to row
  std::size_t bytes = 0;              // of one row; 0: no rows travel
  const std::byte* scales = nullptr;  // null: none given
  std::size_t scale_pitch = 0;        // bytes from token to token
  std::size_t scale_step = 0;         // bytes from one scale of a row to the next; element size if contiguous
  std::size_t scale_element = 0;      // 1 or 4
  std::size_t num_scales = 0;         // per row
  CudaEncode encode = CudaEncode::copy;
};

struct DispatchLaunch {
  CudaGroup group;
  CudaPlacement placement;
  CudaOperation operation = CudaOperation::dispatch;  // route, dispatch, routed_dispatch
  std::uint32_t descriptor = 0;  // what ranks must agree on (cuda_descriptor.hpp); compared on the device

  // The route to make (route, dispatch) or to follow (routed_dispatch).
  CudaRoute route;
  const void* ids = nullptr;  // [num_tokens, top_k] contiguous; unused when routed
  bool ids_are_int64 = false;
  int num_tokens = 0;                               // rows of ids, at most route.max_tokens
  const std::int32_t* device_num_tokens = nullptr;  // if set, the count: clamped to [0, num_tokens]
  OverflowPolicy overflow = OverflowPolicy::error;
  ReductionOrder order = ReductionOrder::rank_ascending;

  CudaRows rows;
  bool has_weights = false;        // weights travel; equal on all ranks
  const float* weights = nullptr;  // [num_tokens, top_k]; may be null without tokens
  Tail tail = Tail::untouched;

  CudaGrant grant;
  void* workspace = nullptr;                  // device memory, dispatch_workspace_bytes; of this group, cleared once
  CudaDispatchResult* result = nullptr;       // device memory
  CudaDispatchResult* host_result = nullptr;  // pinned, device address; null: no copy

  bool timed = false;  // it says whom it waited for: CudaGroupState::waits, CudaGroup::trace
  int num_blocks = 0;  // [1, kCudaMaxBlocks]; more than 64 are slower (docs/measurements)
  // How a block works; 0: the measured default. They change no result.
  int num_senders = 0;  // warps that move rows, at most 14
  int num_stages = 0;   // rows in a warp's ring where they are copied, 3 to 8
  void* stream = nullptr;
};

struct CombineLaunch {
  CudaGroup group;
  std::uint32_t descriptor = 0;
  CudaRoute route;
  int hidden = 0;
  // y, in this rank's heap: offset from its base and pitch are multiples of 16.
  ErrorCode code = ErrorCode::ok;  // heap_exhausted: y had to be copied and there was no room
  std::uint64_t y_offset = 0;
  std::uint64_t y_pitch = 0;     // bytes, less than 2^36
  std::int64_t rows_needed = 0;  // with heap_exhausted: rows that peers would have read
  std::uint64_t wanted_bytes = 0;
  std::uint64_t free_bytes = 0;
  DType y_dtype = DType::bf16;  // bf16, fp16, fp32
  // out [route tokens, hidden] and biases, at the origin; any element-aligned address and pitch.
  std::byte* out = nullptr;
  std::size_t out_pitch = 0;
  DType out_dtype = DType::bf16;
  struct Bias {
    const std::byte* data = nullptr;  // null: none; the second only with the first
    std::size_t pitch = 0;
    DType dtype = DType::bf16;
  } biases[2];
  CudaCombineResult* result = nullptr;
  CudaCombineResult* host_result = nullptr;
  bool timed = false;  // it says whom it waited for: CudaGroupState::waits, CudaGroup::trace
  int num_blocks = 0;
  // How a block works; 0: the measured default. They change no result.
  int num_reducers = 0;         // warps, at most 16
  int num_stages = 0;           // chunks in a warp's ring, 2 to 8
  std::uint32_t max_chunk = 0;  // bytes, a multiple of 512, at most 3584; one that divides a row is preferred
  void* stream = nullptr;
};

/// Bytes of DispatchLaunch::workspace for routes of at most these sizes.
[[nodiscard]] std::size_t dispatch_workspace_bytes(int max_tokens, int num_ranks);

void launch_dispatch(const DispatchLaunch& launch);
void launch_combine(const CombineLaunch& launch);

/// One kernel as it was loaded on the current device.
struct CudaKernelReport {
  std::string name;
  int registers = 0;
  std::size_t local_bytes = 0;  // spilled, per thread
  std::size_t static_shared_bytes = 0;
  std::size_t max_dynamic_shared_bytes = 0;
  int binary_version = 0;  // 90: compiled for sm_90; PTX was compiled at load if it differs from the device's
  bool from_ptx = false;
};

/// Loads every kernel on the current device and sets its shared memory limit. Once per device before the first launch,
/// and before any other rank's kernel can wait on it (a load may wait for the device to idle).
[[nodiscard]] std::vector<CudaKernelReport> prepare_kernels();

}  // namespace railyard::throughput
