// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_trace_ring.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>

namespace railyard::throughput {
namespace {

constexpr std::size_t kWords = sizeof(CudaTraceRecord) / sizeof(std::uint64_t);
using Words = std::array<std::uint64_t, kWords>;

// pair: trace.record
std::uint64_t sequence_of(CudaTraceRecord& record) {
  return std::atomic_ref(record.sequence).load(std::memory_order_acquire);
}

// Each word by itself, with acquire: the look at `sequence` that follows is not ahead of them.
CudaTraceRecord copy_of(CudaTraceRecord& record) {
  auto* const from = reinterpret_cast<std::uint64_t*>(&record);
  Words words;
  for (std::size_t i = 0; i < kWords; ++i) words[i] = std::atomic_ref(from[i]).load(std::memory_order_acquire);
  return std::bit_cast<CudaTraceRecord>(words);
}

}  // namespace

std::uint64_t CudaTraceRing::drain(const std::function<void(const CudaTraceRecord&)>& take) {
  std::uint64_t lost = 0;
  while (true) {
    CudaTraceRecord& place = records_[(next_ - 1) % records_.size()];
    const std::uint64_t before = sequence_of(place);
    if (before == next_) {
      const CudaTraceRecord record = copy_of(place);
      if (sequence_of(place) != next_) continue;  // it is being overwritten: now, or soon, its number says so
      take(record);
      ++next_;
    } else if (before > next_) {
      // Of the records before that one as many are left as the ring has beside it.
      const std::uint64_t oldest = std::max(next_ + 1, before - std::min(before, std::uint64_t{records_.size()}) + 1);
      lost += oldest - next_;
      next_ = oldest;
    } else {
      return lost;  // of an earlier round, or being written
    }
  }
}

}  // namespace railyard::throughput
