// SPDX-License-Identifier: Apache-2.0
// Ranks that another library has brought together (MPI, torch.distributed) get connections of Railyard's own.
#pragma once

#include "bootstrap/bootstrap.hpp"
#include "diagnostics/log.hpp"

#include <railyard/world.hpp>

#include <chrono>
#include <memory>

namespace railyard::bootstrap {

/// Collective. Two calls of `all_gather`: one tells whether the ranks are on one machine, one brings rank 0's address,
/// a free port and a random secret to the others. From then on as `make_tcp_bootstrap`, with deadlines, and with the
/// same errors. What `all_gather` throws is passed on.
[[nodiscard]] std::shared_ptr<Bootstrap> make_bootstrap_through(int rank, int size, const AllGather& all_gather,
                                                                std::chrono::nanoseconds timeout,
                                                                std::shared_ptr<diagnostics::Log> log);

}  // namespace railyard::bootstrap
