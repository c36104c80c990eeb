// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/bench.hpp"

#include "cli/bench/limits.hpp"
#include "cli/bench/mpi_peer.hpp"
#include "cli/bench/plot.hpp"
#include "cli/bench/processes.hpp"
#include "cli/bench/sweep_chart.hpp"
#include "cli/bench/together.hpp"
#include "cli/output.hpp"
#include "diagnostics/format.hpp"
#if defined(RAILYARD_CUDA)
#include "cli/bench/cuda_bench.hpp"
#endif

#include <railyard/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <exception>

namespace railyard::cli::bench {
namespace {

/// Rows in a sample of the encoder's speed.
constexpr int kEncodeTokens = 256;

void measure_link(World& world, Run& run) {
  const Options& options = run.options;
  for (const int tokens : options.tokens) {
    const std::int64_t bytes = std::int64_t{tokens} * options.hidden * static_cast<std::int64_t>(size_of(DType::bf16));
    Copies copies(world, options.seed, std::vector<std::int64_t>(static_cast<std::size_t>(options.ranks), bytes));
    const Series series =
        time_together(world, std::max(options.warmup, copies.num_slots()), options.iterations, copies.timed());
    const double gbps = static_cast<double>(bytes) / series.median() * 1e-3;
    run.limits.copies.push_back({"memcpy", tokens, bytes, series.median(), gbps});
    Result& result = run.results.emplace_back();
    result.operation = "memcpy";
    result.algorithm = "memcpy";
    result.tokens = tokens;
    result.times = Times{series.median(), series.p99()};
    result.gbps = gbps;
    result.verified = holds_everywhere(world, copies.verified());
  }
  if (const FlagLatency flag = measure_flag(world, options); flag.measured) {
    run.limits.flag_us = flag.median_us;
    Result& result = run.results.emplace_back();
    result.operation = "flag";
    result.algorithm = "release-acquire";
    result.times = Times{flag.median_us, flag.p99_us};
    result.verified = true;  // a round trip ends only when both have seen the right values
  }
  for (const Codec codec : {Codec::fp8_e4m3, Codec::fp8_e4m3_ue8m0}) {
    const EncodeRate rate = measure_encode(world, options, codec, kEncodeTokens);
    if (codec == Codec::fp8_e4m3) {
      run.limits.encode_gbps = rate.gigabytes_per_second();
    }
    Result& result = run.results.emplace_back();
    result.operation = "encode";
    result.codec = codec;
    result.quantise = true;
    result.input_dtype = DType::bf16;
    result.algorithm = run.environment.vector_level;
    result.tokens = kEncodeTokens;
    result.times = Times{rate.median_us, rate.p99_us};
    result.gbps = rate.gigabytes_per_second();
    result.verified = holds_everywhere(world, rate.verified);
  }
}

void measure_host(World& world, std::FILE* stream, Run& run) {
  const Options& options = run.options;
  if (options.subject == Subject::link) {
    measure_link(world, run);
    return;
  }
  if (const FlagLatency flag = measure_flag(world, options); flag.measured) {
    run.limits.flag_us = flag.median_us;
  }
  if (options.explain && block_size(options.codec) > 0) {
    run.limits.encode_gbps = measure_encode(world, options, options.codec, kEncodeTokens).gigabytes_per_second();
  }
  for (const int tokens : options.tokens) {
    measure_exchange(world, tokens, stream, run);
  }
}

/// The peer's results, or why there are none. One that cannot be started ends the run: nothing was measured yet.
std::exception_ptr add_mpi(Run& run) {
  try {
    run.peers = measure_mpi(run.options);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::unsupported) {
      throw;
    }
    return std::current_exception();
  }
  return nullptr;
}

/// Peers that have measured without the limit beside them.
void compare_with_limits(Run& run) {
  for (Result& peer : run.peers) {
    for (const MeasuredLimit& limit : run.limits.copies) {
      if (!peer.limit_ratio && peer.times && limit.operation == peer.operation && limit.tokens == peer.tokens) {
        peer.limit_ratio = peer.times->median_us / limit.median_us;
      }
    }
  }
}

ExitStatus report(std::FILE* stream, Run& run) {
  const Options& options = run.options;
  compare_with_limits(run);
  print_results(stream, run);
  write_json(options.json, to_json(run));
  if (!options.plot.empty()) {
    write_text("--plot", options.plot, svg_of(chart_of(run)));
  }
  diagnostics::print(stream, "verified: {}\n", run.verified() ? "yes" : "no");
  return run.verified() ? ExitStatus::verified : ExitStatus::failed;
}

/// Every process measures the same; rank 0's speaks.
ExitStatus run_processes(std::FILE* stream, Run& run) {
  return run_as_processes(run.options.ranks, [&](World& world, int rank) {
    measure_host(world, rank == 0 ? stream : std::fopen("/dev/null", "w"), run);
    return rank == 0 ? report(stream, run) : ExitStatus::verified;
  });
}

}  // namespace

ExitStatus run(const Options& options) {
  Run run;
  run.environment = Environment::detect();
  run.options = options;
  require_writable("--json", options.json);
  require_writable("--plot", options.plot);
  std::FILE* stream = text_stream(options.json);
#if defined(RAILYARD_CUDA)
  if (options.device_kind() == DeviceKind::cuda) {
    measure_cuda(run);
    return report(stream, run);
  }
#endif
  print_heading(stream, run);
  std::exception_ptr peer_failure;
  if (options.peers_include("mpi")) {
    std::fflush(stream);
    peer_failure = add_mpi(run);
  }
  if (options.launch == "processes") {
    const ExitStatus status = run_processes(stream, run);
    if (peer_failure) {
      std::rethrow_exception(peer_failure);  // beside our own results
    }
    return status;
  }
  World world = World::threads(options.ranks);
  measure_host(world, stream, run);
  return report(stream, run);
}

}  // namespace railyard::cli::bench
