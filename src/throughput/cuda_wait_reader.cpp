// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_wait_reader.hpp"

#include "device/cuda_pinned_memory.hpp"
#include "throughput/cuda_wait_statistics.hpp"

#include <cstring>

namespace railyard::throughput {

static_assert(sizeof(CudaWaitTable) % 8 == 0);

CudaWaitReader::CudaWaitReader(int num_ranks)
    : num_ranks_(num_ranks), copy_(device::take_pinned_memory(sizeof(CudaWaitTable))) {}

WaitStatistics CudaWaitReader::read(const CudaWaitTable* table) {
  read_back_.read(table, copy_.get(), sizeof(CudaWaitTable), "reading wait statistics");
  CudaWaitTable content;
  std::memcpy(&content, copy_.get(), sizeof(content));
  WaitStatistics statistics = statistics_of(content, num_ranks_);
  add(statistics, earlier_);
  return statistics;
}

}  // namespace railyard::throughput
