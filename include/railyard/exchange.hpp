// SPDX-License-Identifier: Apache-2.0
// Railyard: expert-parallel communication for Mixture-of-Experts models. Open this first.
//
//   auto world = railyard::World::threads(8);
//   world.run([&](railyard::Rank& rank) {
//     railyard::Group group(rank, {.num_experts = 256, .max_top_k = 8, .max_tokens = 4096, .hidden = 7168});
//     railyard::Dispatched in = group.dispatch(x, top_k_ids, {.weights = weights,
//                                                             .codec = railyard::Codec::fp8_e4m3,
//                                                             .layout = railyard::Layout::expert_major,
//                                                             .alignment = 128});
//     railyard::Tensor y = group.allocate({in.rows.size(0), 7168}, railyard::DType::bf16);
//     run_experts(in.rows, in.scales, in.route.expert_counts(), y);
//     group.combine(y, in.route, out, {.row_weights = in.weights});
//   });
//
// world.hpp      ranks and how they find each other
// group.hpp      dispatch, combine, route: the operations and their options' limits
// route.hpp      counts, offsets and rows of one routing decision
// tensor.hpp     views of the caller's memory, and leased tensors in the group's heap
// error.hpp      errors (before launch) and statuses (after)
// gate.hpp       a router on the host, for examples and benchmarks
#pragma once

#include <railyard/combine.hpp>
#include <railyard/dispatch.hpp>
#include <railyard/error.hpp>
#include <railyard/gate.hpp>
#include <railyard/group.hpp>
#include <railyard/lease.hpp>
#include <railyard/log.hpp>
#include <railyard/placement.hpp>
#include <railyard/route.hpp>
#include <railyard/stream.hpp>
#include <railyard/tensor.hpp>
#include <railyard/types.hpp>
#include <railyard/version.hpp>
#include <railyard/wait_statistics.hpp>
#include <railyard/world.hpp>
