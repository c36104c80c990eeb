// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_bench.hpp"

#include "cli/bench/cuda_link.hpp"
#include "cli/bench/nccl_exchange.hpp"
#include "cli/exit_status.hpp"
#include "cli/output.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"
#include "topology/cuda_devices.hpp"
#include "topology/nvml.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;

/// Most SMs of an operation: what a link is compared with does not take more.
constexpr int kMostSms = 64;
constexpr std::int64_t kLimitBytes = std::int64_t{64} << 20U;

int property(int device, cudaDeviceAttr attribute) {
  int value = 0;
  require_cuda(cudaDeviceGetAttribute(&value, attribute, device), "a property of a GPU");
  return value;
}

/// What a library or device does not have is the command line's to change: status 2, not 1.
template <typename Function>
auto or_usage_error(const Function& function) {
  try {
    return function();
  } catch (const Error& error) {
    const std::string code = std::string(code_name(ErrorCode::unsupported)) + ": ";
    if (error.code() != ErrorCode::unsupported) {
      throw;
    }
    const std::string message = error.what();
    throw UsageError(message.starts_with(code) ? message.substr(code.size()) : message, ErrorCode::unsupported);
  }
}

/// Those asked for, or all.
std::vector<int> devices_of(const Options& options) {
  if (!options.devices.empty()) {
    return options.devices;
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    const char* why = error == cudaSuccess ? "none is visible" : cudaGetErrorString(error);
    throw UsageError(diagnostics::format("--device cuda: there is no GPU to use: {}", why), ErrorCode::unsupported);
  }
  std::vector<int> devices(static_cast<std::size_t>(count));
  std::iota(devices.begin(), devices.end(), 0);
  return devices;
}

void describe(const std::vector<int>& devices, Environment& environment) {
  cudaDeviceProp properties{};
  require_cuda(cudaGetDeviceProperties(&properties, devices.front()), "the properties of a GPU");
  int driver = 0;
  int runtime = 0;
  require_cuda(cudaDriverGetVersion(&driver), "the driver's version");
  require_cuda(cudaRuntimeGetVersion(&runtime), "the runtime's version");
  environment.device =
      diagnostics::format("{} x {}, {} SMs", devices.size(), properties.name, properties.multiProcessorCount);
  environment.cache_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  try {
    environment.nvlinks = topology::count_links(topology::loaded_nvml(), topology::identity_of(devices.front()));
  } catch (const Error&) {  // a container without NVML: what is measured does not need it
  }
  environment.system = diagnostics::format("CUDA driver {}.{}, runtime {}.{}; {}", driver / 1000, driver % 1000 / 10,
                                           runtime / 1000, runtime % 1000 / 10, environment.system);
}

Result result_of(const LinkFigure& figure, int tokens) {
  Result result;
  result.operation = figure.rate.operation;
  result.algorithm = figure.rate.algorithm;
  result.timing = "event";
  result.sms = figure.rate.sms;
  result.tokens = tokens;
  result.times = figure.times;
  result.gbps = figure.rate.gbps;
  result.verified = figure.verified;
  return result;
}

}  // namespace

void measure_cuda(Run& run) {
  // Virtual ranks need both, before this process first uses CUDA: a queue for each stream, and no kernel that is
  // loaded, which waits for the device, while another waits for its peer.
  static_cast<void>(setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0));
  static_cast<void>(setenv("CUDA_MODULE_LOADING", "EAGER", 0));
  std::vector<int> devices = devices_of(run.options);
  std::vector<int> of_ranks;
  const bool exchanges = run.options.subject != Subject::link;
  if (!exchanges) {
    run.options.ranks = static_cast<int>(devices.size());  // links are between GPUs, whoever uses them
  }
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(run.options.ranks); ++rank) {
    of_ranks.push_back(devices[rank % devices.size()]);
  }
  devices = of_ranks;
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  WorldOptions options;
  for (const int device : of_ranks) {
    options.devices.push_back({DeviceKind::cuda, device});
  }
  World world = or_usage_error([&] { return World::threads(run.options.ranks, options); });
  describe(devices, run.environment);
  const RankStreams streams(of_ranks);
  const CudaRun cuda{world, streams, devices,
                     static_cast<std::size_t>(property(devices.front(), cudaDevAttrL2CacheSize)), run};
  if (exchanges) {
    or_usage_error([&] { require_supported(cuda); });
  }
  if (run.options.peers_include("nccl")) {
    or_usage_error([&] { require_nccl(cuda); });
  }
  print_heading(text_stream(run.options.json), run);
  if (exchanges && devices.size() < of_ranks.size()) {
    diagnostics::print(text_stream(run.options.json),
                       "note: {} ranks share {} GPUs; between ranks of one GPU rows cross no link\n", of_ranks.size(),
                       devices.size());
  }
  if (!exchanges) {
    measure_cuda_link(cuda);
    return;
  }
  measure_cuda_limits(cuda);
  for (const int tokens : run.options.tokens) {
    measure_cuda_exchange(cuda, tokens);
  }
}

void measure_cuda_link(const CudaRun& cuda) {
  const Options& options = cuda.run.options;
  Run& run = cuda.run;
  const int all_sms = property(cuda.devices.front(), cudaDevAttrMultiProcessorCount);
  for (const int tokens : options.tokens) {
    const LinkPlan plan{
        .devices = cuda.devices,
        .bytes = std::int64_t{tokens} * options.hidden * static_cast<std::int64_t>(size_of(DType::bf16)),
        .sms = options.sms.empty() ? std::vector<int>{1, 2, 4, 8, 12, 16, 24, 32, 64, all_sms} : options.sms,
        .warmup = options.warmup,
        .iterations = options.iterations};
    const std::vector<LinkFigure> figures = measure_links(plan);
    for (const LinkFigure& figure : figures) {
      run.results.push_back(result_of(figure, tokens));
    }
    run.limits.links = best_rates(figures, all_sms);  // of the last count of tokens
  }
  const FlagLatency flag = measure_cuda_flag(cuda.devices, options.iterations);
  run.limits.flag_us = flag.median_us;
  Result& result = run.results.emplace_back();
  result.operation = "flag";
  result.algorithm =
      cuda.devices.size() > 1 ? "release-acquire between two GPUs" : "release-acquire between two blocks of one GPU";
  result.timing = "event";
  result.times = Times{flag.median_us, flag.p99_us};
  result.verified = true;  // a round trip ends only when both have seen the right values
}

void measure_cuda_limits(const CudaRun& cuda) {
  const std::vector<LinkFigure> figures =
      measure_links({.devices = cuda.devices, .bytes = kLimitBytes, .sms = {8, 12, 16, 24, 32, kMostSms}});
  cuda.run.limits.links = best_rates(figures, kMostSms);
  cuda.run.limits.flag_us = measure_cuda_flag(cuda.devices, 10).median_us;
  for (const LinkFigure& figure : figures) {
    if (!figure.verified) {
      throw Error(ErrorCode::unsupported, diagnostics::format("{} ({}) between these GPUs delivers wrong bytes",
                                                              figure.rate.operation, figure.rate.algorithm));
    }
  }
}

}  // namespace railyard::cli::bench
