// SPDX-License-Identifier: Apache-2.0
// One operation of all ranks, timed as single calls and as a graph, its outputs compared after both.
#pragma once

#include "cli/bench/cuda_bench.hpp"
#include "cli/bench/cuda_gemm.hpp"

#include <functional>
#include <vector>

namespace railyard::cli::bench {

/// The functions are called by every rank in its thread; `number` counts the operations of one rank from 0.
struct Operation {
  Result result;          // what is known before it is timed
  double limit_us = 0.0;  // what links and memory need at best; 0: not known
  int in_graph = 8;       // operations in a graph; later numbers use the outputs of number % in_graph
  std::function<void(int rank, int number)> submit;    // to the rank's stream
  std::function<void(int rank, int number)> poison;    // its outputs
  std::function<bool(int rank, int number)> check;     // whether its outputs are right; may wait for the stream
  std::function<void(int rank)> release = [](int) {};  // all outputs, before the graph is recorded
};

/// Adds a result for each timing: graph, event; with `gemm` for the graph beside it alone, compared with the graph that
/// `results` has. One that is wrong has no times.
void measure_operation(const CudaRun& cuda, const Operation& operation, std::vector<Result>& results,
                       const GemmBeside* gemm = nullptr);

}  // namespace railyard::cli::bench
