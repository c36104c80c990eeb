// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_operation.hpp"

#include "cli/bench/cuda_timing.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <atomic>

namespace railyard::cli::bench {
namespace {

Result timed_result(const Operation& operation, const char* timing, const Series& series, bool verified) {
  Result result = operation.result;
  result.timing = timing;
  result.verified = verified;
  if (!verified) {
    diagnostics::print(stderr, "wrong: {}{} ({}) after timing\n", result.name.empty() ? "" : result.name + " ",
                       result.operation, timing);
    return result;
  }
  result.times = Times{series.median(), series.p99()};
  result.gbps = static_cast<double>(result.wire_bytes) / series.median() * 1e-3;
  if (operation.limit_us > 0) {
    result.limit_ratio = series.median() / operation.limit_us;
  }
  return result;
}

/// What the operation's graph took without anything beside it.
double alone(const Operation& operation, const std::vector<Result>& results) {
  const Result& wanted = operation.result;
  const auto found = std::find_if(results.rbegin(), results.rend(), [&](const Result& result) {
    return result.operation == wanted.operation && result.codec == wanted.codec && result.quantise == wanted.quantise &&
           result.sms == wanted.sms && result.tokens == wanted.tokens && result.timing == "graph" && !result.beside &&
           result.times;
  });
  if (found == results.rend()) {
    throw Error(ErrorCode::unsupported,
                diagnostics::format("{} beside a gemm without a right result alone", wanted.operation));
  }
  return found->times->median_us;
}

}  // namespace

void measure_operation(const CudaRun& cuda, const Operation& operation, std::vector<Result>& results,
                       const GemmBeside* gemm) {
  const Options& options = cuda.run.options;
  std::atomic<bool> right{true};
  const auto check = [&](int rank, int numbers) {
    for (int number = 0; number < numbers; ++number) {
      if (!operation.check(rank, number)) {
        right = false;
      }
    }
  };
  const auto poison_all = [&](int rank) {
    for (int number = 0; number < operation.in_graph; ++number) {
      operation.poison(rank, number);
    }
  };
  GraphPlan plan{.operations = operation.in_graph,
                 .warmup = options.warmup,
                 .replays = options.iterations,
                 .prepare = poison_all,
                 .finish = [&](int rank) { check(rank, operation.in_graph); }};
  if (gemm != nullptr) {
    const double alone_us = alone(operation, results);
    plan.begin = [&](int rank) { gemm->start(rank, alone_us * operation.in_graph * (plan.warmup + plan.replays)); };
    plan.end = [&](int rank) {
      if (!gemm->finish(rank)) {
        diagnostics::print(stderr, "rank {}: the products ended before the operations did\n", rank);
        right = false;
      }
    };
    const Series beside = time_graph(cuda.world, cuda.streams, plan, operation.submit);
    results.push_back(timed_result(operation, "graph", beside, right));
    results.back().beside = Beside{"gemm", gemm->sms(), beside.median() / alone_us};
    return;
  }
  // Calls first: a graph keeps the blocks that its operations took.
  const Series calls = time_calls(cuda.world, cuda.streams, options.warmup, options.iterations, operation.submit);
  cuda.world.run([&](Rank& rank) {
    check(rank.index(), std::min(operation.in_graph, options.warmup + options.iterations));
    operation.release(rank.index());
    const device::UseDevice use(cuda.streams.device(rank.index()));
    device::require_cuda(cudaStreamSynchronize(cuda.streams[rank.index()]), "giving back outputs");
  });
  const bool calls_right = right.exchange(true);
  const Series graph = time_graph(cuda.world, cuda.streams, plan, operation.submit);
  results.push_back(timed_result(operation, "graph", graph, right));
  results.push_back(timed_result(operation, "event", calls, calls_right));
}

}  // namespace railyard::cli::bench
