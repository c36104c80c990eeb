// SPDX-License-Identifier: Apache-2.0
// `--peers mpi`: the same exchange as pack, MPI_Alltoallv and reduce, by the program railyard_mpi_peer
// (bench/peers/mpi_peer.cpp) under mpirun, on processes as many as there are ranks. Its combine is there twice: named
// `mpi` it packs the rows of experts, named `mpi in place` it does not.
#pragma once

#include "cli/bench/options.hpp"
#include "cli/bench/result.hpp"

#include <vector>

namespace railyard::cli::bench {

/// The peer's dispatch and combine for every count of tokens. Blocks; this process must have no threads. Throws
/// Error{unsupported} if mpirun or the peer's program is missing, Error{timeout} after two minutes per count of tokens,
/// Error{rank_failed} if it fails.
[[nodiscard]] std::vector<Result> measure_mpi(const Options& options);

}  // namespace railyard::cli::bench
