// SPDX-License-Identifier: Apache-2.0
// What the kernels of a traced group tell of each operation: one record, in a ring in pinned memory.
//
// Block 0 writes the record when its operation ends, replays of graphs included: `sequence` becomes 0, then come the
// other words, then the number of the record, each step after a system fence. The host reads `sequence`, the rest, and
// `sequence` again: equal and not 0, the record is whole.
#pragma once

#include "device/wait_report.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

/// A wait for the peers; none of them missing at its first look: nothing.
struct CudaTracedWait {
  std::uint64_t waited_ns = 0;  // until the last of them was seen
  std::int32_t last_peer = -1;
  std::int32_t missing = 0;  // at the first look
};

/// Times are %globaltimer's.
struct CudaTraceRecord {
  std::uint64_t sequence = 0;  // counts the group's operations from 1
  std::uint64_t epoch = 0;
  std::uint64_t entry_ns = 0;      // block 0 began
  std::uint64_t exchanged_ns = 0;  // everyone's counts or offers were there; 0: the operation ended before
  std::uint64_t moved_ns = 0;      // block 0 had moved its rows; 0: the operation ended before
  std::uint64_t end_ns = 0;
  CudaTracedWait exchange;
  CudaTracedWait last;  // for rows to arrive, or for readers
  device::Operation operation = device::Operation::none;
  std::uint32_t failed = 0;  // 1: it ended without its peers
  std::uint64_t unused[5] = {};
};
static_assert(sizeof(CudaTraceRecord) == 128);

inline constexpr std::size_t kCudaTraceRecords = 4096;  // of a ring

}  // namespace railyard::throughput
