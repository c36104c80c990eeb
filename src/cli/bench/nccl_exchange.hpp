// SPDX-License-Identifier: Apache-2.0
// The same exchange by NCCL's all-to-all: rows permuted by simple kernels, counts and indices known beforehand (which
// is to NCCL's advantage), no ids or weights sent.
#pragma once

#include "cli/bench/cuda_bench.hpp"
#include "cli/bench/cuda_session.hpp"

namespace railyard::cli::bench {

/// Throws Error{unsupported} without NCCL, and unless every rank has a GPU of its own.
void require_nccl(const CudaRun& cuda);

/// Adds the peer's dispatch, and combine if asked, of a session that has been verified: its slots hold what must come
/// out. After require_nccl.
void measure_nccl(const CudaRun& cuda, CudaSession& session, bool with_combine);

}  // namespace railyard::cli::bench
