// SPDX-License-Identifier: Apache-2.0
// The GPUs and what connects them. What is refused is decided by src/topology, as for a world.
#include "cli/bench/cuda_link.hpp"
#include "cli/doctor/checks.hpp"
#include "cli/doctor/link_pairs.hpp"
#include "device/cuda_call.hpp"
#include "diagnostics/environment.hpp"
#include "diagnostics/format.hpp"
#include "topology/cuda_devices.hpp"
#include "topology/cuda_fabric.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <numeric>

namespace railyard::cli::doctor {
namespace {

using device::require_cuda;
using diagnostics::format;

constexpr std::int64_t kLinkBytes = std::int64_t{64} << 20;  // of a copy
constexpr int kLinkSms = 16;

/// Adds what `look` completes; if it throws, in the state `worse`, with what it said.
template <typename Look>
void add(Findings& findings, Finding finding, State worse, const char* remedy, const Look& look) {
  try {
    look(finding);
  } catch (const Error& error) {
    finding.state = worse;
    finding.found += (finding.found.empty() ? "" : ": ") + std::string(error.what());
    finding.remedy = remedy;
  }
  findings.push_back(std::move(finding));
}

std::string version_of(int version) { return format("{}.{}", version / 1000, version % 1000 / 10); }

void describe_device(int device, Finding& finding) {
  const device::UseDevice use(device);
  cudaDeviceProp properties{};
  std::size_t free = 0;
  std::size_t total = 0;
  require_cuda(cudaGetDeviceProperties(&properties, device), "the properties of a GPU");
  finding.found = format("{}, compute capability {}.{}, {} SMs", properties.name, properties.major, properties.minor,
                         properties.multiProcessorCount);
  finding.numbers = {{"device", device},
                     {"compute_capability", properties.major + properties.minor / 10.0},
                     {"sms", properties.multiProcessorCount}};
  topology::check_cuda_devices({{device, 1}});
  require_cuda(cudaMemGetInfo(&free, &total), "the memory of a GPU");
  finding.found += format(", {} of {} MiB free", free >> 20U, total >> 20U);
  finding.numbers.emplace_back("free_bytes", static_cast<double>(free));
  finding.numbers.emplace_back("total_bytes", static_cast<double>(total));
}

/// Every pair; names those that may not be ranks of one group.
void describe_peers(const std::vector<int>& devices, Finding& finding) {
  int pairs = 0;
  std::string refused;
  for (const int one : devices) {
    for (int other = 0; other < one; ++other, ++pairs) {
      try {
        topology::check_peer_access({other, one});
      } catch (const Error&) {
        refused += format(" {}-{}", other, one);
      }
    }
  }
  finding.numbers = {{"pairs", pairs}};
  if (!refused.empty()) {
    throw Error(ErrorCode::unsupported, format("pairs of GPUs without access and atomics both ways:{}", refused));
  }
  finding.found = format("{} pairs of GPUs, all with access and atomics both ways", pairs);
}

/// Whether a group of this process would have to have them; false where its variables cannot be read.
bool asks_for_fabric_handles() {
  try {
    return diagnostics::read_environment().gpu_handles == GpuHandles::fabric;
  } catch (const Error&) {  // another finding says which
    return false;
  }
}

void describe_fabric_handles(int device, Finding& finding) {
  finding.numbers = {{"device", device}};
  const topology::FabricHandles handles = topology::ask_for_fabric_handles(device);
  finding.numbers.emplace_back("supported", handles.supported ? 1 : 0);
  finding.numbers.emplace_back("permitted", handles.permitted ? 1 : 0);
  if (handles.permitted) {
    finding.found = "a granule was allocated and exported as a fabric handle";
    return;
  }
  const bool asked = asks_for_fabric_handles();
  finding.state = asked ? State::problem : State::note;
  finding.found = handles.refusal + (asked ? "; RAILYARD_GPU_HANDLES=fabric asks for them" : "");
  finding.remedy = handles.remedy;
}

void measure(const std::vector<int>& devices, Finding& finding) {
  const bench::LinkPlan plan{.devices = devices, .bytes = kLinkBytes, .sms = {kLinkSms}, .warmup = 1, .iterations = 5};
  const std::vector<bench::LinkFigure> figures = bench::measure_links(plan);
  for (const bench::MeasuredRate& rate : bench::best_rates(figures, kLinkSms)) {
    finding.found += format("{}{} {:.1f} GB/s", finding.found.empty() ? "" : ", ", rate.operation, rate.gbps);
    finding.numbers.emplace_back(rate.operation + "_gbps", rate.gbps);
  }
  if (!std::ranges::all_of(figures, &bench::LinkFigure::verified)) {
    throw Error(ErrorCode::unsupported, "copies differ from their sources");
  }
  if (devices.size() > 1) describe_pairs(bench::measure_pairs(plan), finding);
}

}  // namespace

Findings check_gpus(bool quick) {
  int driver = 0;
  require_cuda(cudaDriverGetVersion(&driver), "asking for the GPU driver");
  if (driver == 0) {
    return {{.check = "gpu_driver",
             .state = State::note,
             .found = "no GPU driver: libcuda.so.1 not found",
             .remedy = "to use GPUs install NVIDIA's driver; in a container: docker run --gpus all"}};
  }
  Findings findings;
  int count = 0;
  add(findings,
      {.check = "gpu_driver", .found = format("for CUDA {}", version_of(driver)), .numbers = {{"version", driver}}},
      State::problem, "update the driver; nvidia-smi and CUDA_VISIBLE_DEVICES say which GPUs are seen",
      [&](Finding& finding) {
        topology::check_cuda_devices({});
        require_cuda(cudaGetDeviceCount(&count), "counting the GPUs");
        finding.found += format(", runtime {}, {} GPUs", version_of(CUDART_VERSION), count);
        finding.numbers.emplace_back("gpus", count);
      });
  if (count == 0) {
    return findings;
  }
  std::vector<int> devices(static_cast<std::size_t>(count));
  std::iota(devices.begin(), devices.end(), 0);
  for (const int device : devices) {
    add(findings, {.check = format("cuda:{}", device)}, State::problem,
        "leave it out (CUDA_VISIBLE_DEVICES), or see what nvidia-smi says of it",
        [&](Finding& finding) { describe_device(device, finding); });
  }
  add(findings, {.check = "gpu_peers"}, State::problem, "choose GPUs with NVLink between them: nvidia-smi topo -m",
      [&](Finding& finding) { describe_peers(devices, finding); });
  add(findings, {.check = "gpu_connections"}, State::note,
      "only for several ranks on one GPU; a rank with a GPU to itself needs nothing", [](Finding& finding) {
        topology::check_cuda_devices({{0, 2}});
        finding.found = "enough device connections for several ranks on one GPU";
      });
  const bool sound =
      std::ranges::none_of(findings, [](const Finding& finding) { return finding.state == State::problem; });
  for (const int device : devices) {
    add(findings, {.check = format("gpu_fabric:{}", device)}, State::problem,
        "free memory of this GPU, or leave it out (CUDA_VISIBLE_DEVICES)",
        [&](Finding& finding) { describe_fabric_handles(device, finding); });
  }
  if (quick || !sound) {
    findings.push_back({.check = "gpu_links",
                        .state = State::not_checked,
                        .found = quick ? "left out by --quick" : "left out after the problems above",
                        .remedy = quick ? "leave out --quick" : "solve those first"});
    return findings;
  }
  add(findings, {.check = "gpu_links"}, State::problem, "end what else runs on these GPUs; nvidia-smi nvlink --status",
      [&](Finding& finding) { measure(devices, finding); });
  return findings;
}

}  // namespace railyard::cli::doctor
