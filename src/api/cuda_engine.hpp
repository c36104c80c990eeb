// SPDX-License-Identifier: Apache-2.0
// What the ranks of a CUDA group share, at one rank, and what may outlive the group with the kernels that use it.
#pragma once

#include "bootstrap/bootstrap.hpp"
#include "symmetric_memory/symmetric_heap.hpp"
#include "throughput/cuda_operations.hpp"
#include "topology/cuda_devices.hpp"
#include "tuning/sm_ledger.hpp"

#include <railyard/group.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

struct CUevent_st;

namespace railyard::api {

/// All that the ranks of one generation of a group share. A recovery builds it anew, among fewer ranks.
struct CudaEngine {
  std::shared_ptr<symmetric_memory::SymmetricHeap> heap;
  std::shared_ptr<throughput::CudaResources> resources;
  std::unique_ptr<throughput::CudaOperations> operations;
  std::uint64_t first_epoch = 0;
  std::uint64_t first_route = 0;
  std::vector<std::shared_ptr<void>> abort_watches;

  /// Ends every wait on the device, now and later, with RY-ABORTED.
  void abort() const;
  /// The same once the flag is raised, as long as this lives.
  void end_with(bootstrap::AbortFlag& flag);
};

/// Collective, of those who share `bootstrap`, on `gpus`: heaps of `bytes`, growing and shared as `options` say. Throws
/// as SymmetricHeap, and RY-UNSUPPORTED where peers cannot be reached.
[[nodiscard]] std::shared_ptr<symmetric_memory::SymmetricHeap> make_cuda_heap(
    bootstrap::Bootstrap& bootstrap, int device, std::size_t bytes, const GroupOptions& options,
    const std::vector<topology::CudaIdentity>& gpus, std::chrono::nanoseconds timeout);

/// Keeps what a destroyed group's latest operation uses, until that has ended.
void retire(std::shared_ptr<CUevent_st> end, std::shared_ptr<CudaEngine> engine,
            std::unique_ptr<tuning::SmReservation> reservation);
/// Lets go of those that have ended. Called whenever a group is made or destroyed.
void release_retired_cuda_engines();

}  // namespace railyard::api
