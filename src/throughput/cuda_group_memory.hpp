// SPDX-License-Identifier: Apache-2.0
// The first block of a CUDA rank's heap: what its group keeps on the device. Peers write to the control block alone.
//
//   control         CudaControlLayout                    at offset 0 of every heap
//   state           CudaGroupState
//   results         CudaDispatchResult, CudaCombineResult
//   rank_of_expert  [experts] uint8
//   first_expert    [ranks + 1] int32
//   workspace       DispatchWorkspace
//
// Each route keeps a block of this rank's private memory: transfers, checked ids, sizes.
#pragma once

#include "throughput/cuda_dispatch_plan.hpp"

#include <cstddef>
#include <cstdint>

namespace railyard::throughput {

struct CudaGroupShape {
  int num_ranks = 0;
  int num_experts = 0;
  int max_tokens = 0;
  int max_top_k = 0;
  int num_slots = 0;  // max_in_flight
};

struct CudaGroupMemory {
  std::size_t state = 0;  // offsets from the start of the block
  std::size_t dispatch_result = 0;
  std::size_t combine_result = 0;
  std::size_t rank_of_expert = 0;
  std::size_t first_expert = 0;
  std::size_t workspace = 0;
  std::size_t bytes = 0;

  [[nodiscard]] static constexpr CudaGroupMemory of(const CudaGroupShape& shape) {
    CudaGroupMemory layout;
    const auto append = [&](std::size_t size) {
      const std::size_t offset = layout.bytes;
      layout.bytes += round_up_bytes(size, kCudaArrayAlignment);
      return offset;
    };
    append(CudaControlLayout::of(shape.num_ranks, shape.num_slots).bytes);
    layout.state = append(sizeof(CudaGroupState));
    layout.dispatch_result = append(sizeof(CudaDispatchResult));
    layout.combine_result = append(sizeof(CudaCombineResult));
    layout.rank_of_expert = append(static_cast<std::size_t>(shape.num_experts));
    layout.first_expert = append((static_cast<std::size_t>(shape.num_ranks) + 1) * sizeof(std::int32_t));
    layout.workspace = append(DispatchWorkspace::of(shape.max_tokens, shape.num_ranks).bytes);
    return layout;
  }
};

struct CudaRouteMemory {
  std::size_t transfers = 0;
  std::size_t experts = 0;
  std::size_t sizes = 0;
  std::size_t bytes = 0;

  [[nodiscard]] static constexpr CudaRouteMemory of(int max_tokens, int top_k, int num_ranks) {
    const auto tokens = static_cast<std::size_t>(max_tokens);
    CudaRouteMemory layout;
    layout.experts =
        round_up_bytes(tokens * static_cast<std::size_t>(CudaRoute::slots(top_k, num_ranks)) * sizeof(CudaTransfer),
                       kCudaArrayAlignment);
    layout.sizes = layout.experts +
                   round_up_bytes(tokens * static_cast<std::size_t>(top_k) * sizeof(std::int32_t), kCudaArrayAlignment);
    layout.bytes = layout.sizes + kCudaArrayAlignment;
    return layout;
  }
};

}  // namespace railyard::throughput
