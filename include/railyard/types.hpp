// SPDX-License-Identifier: Apache-2.0
// The vocabulary of the library as small value types. docs/glossary.md explains the words.
#pragma once

#include <railyard/export.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace railyard {

/// Element types of tensors.
enum class DType : std::uint8_t { bf16, fp16, fp32, fp8_e4m3, uint8, int32, int64 };

/// How a row travels. The element codecs `bf16 fp16 fp32` convert with one rounding to nearest even, or copy rows that
/// have the type already;
/// `fp8_e4m3` adds one fp32 scale per 128 elements, `fp8_e4m3_ue8m0` one power-of-two scale (a biased exponent byte).
enum class Codec : std::uint8_t { bf16, fp16, fp32, fp8_e4m3, fp8_e4m3_ue8m0 };

/// Where a dispatch places rows.
enum class Layout : std::uint8_t {
  rank_major,    // a row per (token, destination rank), ordered by (source rank, token)
  expert_major,  // a row per entry, grouped by local expert, group starts aligned: contiguous grouped GEMM
  expert_slots,  // [local experts, capacity, hidden] and counts: masked grouped GEMM
};

enum class Mode : std::uint8_t {
  throughput,   // rows are written once, at their final place in the receiver's lease
  low_latency,  // rows of others come through private wire slots; a send part waits for nothing of its own epoch
};

/// Where partial sums are rounded to the type of the expert outputs, once.
enum class ReductionLevels : std::uint8_t {
  none,  // every entry is added at the origin, in ascending k
  rank,  // each rank's entries are summed first (ascending k), rounded, then the partials are added at the origin
};

/// In which order the partials of one token are added when levels = rank.
enum class ReductionOrder : std::uint8_t {
  rank_ascending,
  highest_k,  // a rank's partial takes the place of its last entry in the token's list (deep_ep V2)
};

/// What happens to rows at or beyond the capacity.
enum class OverflowPolicy : std::uint8_t {
  error,  // the operation completes, the status says so, affected combine rows are NaN
  drop,   // entries beyond capacity are left out and counted; weights are not renormalised
};

/// What a rank does about peers that have not come when a wait's deadline passes.
enum class TimeoutPolicy : std::uint8_t {
  error,  // RY-TIMEOUT, and the group is suspended until Group::recover
  mask,   // the same, but the group's next operation recovers it first (Group::is_suspended)
  wait,   // goes on, with a warning per deadline, until they come, a process has died, or somebody recovers or aborts;
          // also for a rank that has left without calling
};

/// What a dispatch writes to payload rows above the count. (Ids and weights there are always -1 and 0.)
enum class Tail : std::uint8_t { untouched, zero, poison };

/// How ranks in different processes get at the memory of each other's GPUs.
enum class GpuHandles : std::uint8_t {
  fd,      // file descriptors, over Unix sockets: ranks of one machine
  fabric,  // fabric handles, plain bytes: NVLink between machines needs them; the GPU and the driver must permit them
};

enum class DeviceKind : std::uint8_t { host, cuda };

struct Device {
  DeviceKind kind = DeviceKind::host;
  int index = 0;  // of cuda devices, as the CUDA runtime counts them
  friend bool operator==(const Device&, const Device&) = default;
};

/// Bytes of one element.
[[nodiscard]] RAILYARD_API std::size_t size_of(DType dtype) noexcept;
/// Element type of a row that travels in `codec`.
[[nodiscard]] RAILYARD_API DType element_type(Codec codec) noexcept;
/// Elements per scale, 0 for codecs without scales.
[[nodiscard]] RAILYARD_API int block_size(Codec codec) noexcept;
/// Element type of the scales (fp32, or uint8 for UE8M0); only for codecs with scales.
[[nodiscard]] RAILYARD_API DType scale_type(Codec codec) noexcept;

/// The names that the command line, the JSON and the error messages use.
[[nodiscard]] RAILYARD_API std::string_view name(DType dtype) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(Codec codec) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(Layout layout) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(Mode mode) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(ReductionLevels levels) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(ReductionOrder order) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(OverflowPolicy policy) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(TimeoutPolicy policy) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(Tail tail) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(GpuHandles handles) noexcept;
[[nodiscard]] RAILYARD_API std::string_view name(DeviceKind kind) noexcept;

}  // namespace railyard
