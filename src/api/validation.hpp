// SPDX-License-Identifier: Apache-2.0
// What is checked on the host before anything is sent. Everything here throws RY-INVALID-ARGUMENT (or RY-UNSUPPORTED)
// with value and limit, and changes nothing.
#pragma once

#include "symmetric_memory/heap.hpp"
#include "transports/combine_request.hpp"
#include "transports/dispatch_operation.hpp"

#include <railyard/dispatch.hpp>
#include <railyard/group.hpp>

#include <cstddef>
#include <cstdint>

namespace railyard::api {

/// The agreed facts of a group that checks need.
struct GroupFacts {
  const GroupOptions& options;
  const Placement& placement;
  int rank = 0;
  Device device{};
  const routing::RouteOwner* routes = nullptr;
  const symmetric_memory::Heap* heap = nullptr;  // this rank's
  std::uint64_t first_route = 0;                 // number of the first since the group recovered
};

[[nodiscard]] transports::DispatchRequest check_dispatch(const GroupFacts& facts, const ConstTensorView& x,
                                                         const ConstTensorView& top_k_ids,
                                                         const DispatchOptions& options);
[[nodiscard]] transports::DispatchRequest check_routed_dispatch(const GroupFacts& facts, const ConstTensorView& x,
                                                                const Route& route, const PayloadOptions& options);
[[nodiscard]] transports::DispatchRequest check_route(const GroupFacts& facts, const ConstTensorView& top_k_ids,
                                                      const RouteOptions& options);
[[nodiscard]] transports::DispatchRequest check_route_from_mask(const GroupFacts& facts, const ConstTensorView& mask,
                                                                const RouteOptions& options);
[[nodiscard]] transports::CombineRequest check_combine(const GroupFacts& facts, const ConstTensorView& y,
                                                       const Route& route, const TensorView& out,
                                                       const CombineOptions& options);

/// Throws RY-DESTROYED for an empty route, RY-INVALID-ARGUMENT for another group's.
void check_own_route(const GroupFacts& facts, const Route& route);

/// It is where the rank is.
void check_device(const GroupFacts& facts, const char* what, const ConstTensorView& view);

/// `[rows, columns]` of one of the group's fixed columns, elements of a row adjacent, rows not overlapping, on the
/// rank's device.
void check_matrix(const GroupFacts& facts, const char* what, const ConstTensorView& view, std::int64_t columns);

/// Its elements start at multiples of their size. The dtype is a valid one.
void check_aligned(const char* what, const ConstTensorView& view);

/// int32 or fp32 arrays that the library reads as they lie.
void check_contiguous(const GroupFacts& facts, const char* what, const ConstTensorView& view);

}  // namespace railyard::api
