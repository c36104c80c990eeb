// SPDX-License-Identifier: Apache-2.0
// The build, the processor and the memory.
#include "cli/bench/limits.hpp"
#include "cli/doctor/checks.hpp"
#include "cli/environment.hpp"
#include "codecs/implementation.hpp"
#include "diagnostics/format.hpp"
#include "symmetric_memory/available_memory.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace railyard::cli::doctor {
namespace {

using diagnostics::format;

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr double kLittleMemory = kGiB;
constexpr int kMostCopyThreads = 16;
constexpr std::int64_t kCopyBytes = std::int64_t{4} << 20;  // of a thread
constexpr double kCopyMemory = 4 * kGiB;                    // more than the copies and their slots take

/// Of a line "key: 123 kB" of /proc/meminfo.
double meminfo_bytes(const char* key) {
  const std::string text = field_of("/proc/meminfo", key);
  return text.empty() ? 0.0 : std::stod(text) * 1024.0;
}

// By which the library too decides whether there is room for a heap.
double usable_memory() { return static_cast<double>(symmetric_memory::available_memory()); }

int numa_nodes() {
  std::error_code none;
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/devices/system/node", none)) {
    const std::string node = entry.path().filename();
    count += node.starts_with("node") && node.find_first_not_of("0123456789", 4) == std::string::npos ? 1 : 0;
  }
  return std::max(count, 1);
}

/// Adds the limit to the numbers unless it is none.
std::string limit_text(Finding& finding, const char* number, decltype(RLIMIT_AS) resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return "unlimited";
  }
  finding.numbers.emplace_back(number, static_cast<double>(limit.rlim_cur));
  return format("{} MiB", limit.rlim_cur >> 20U);
}

}  // namespace

Findings check_build() {
#if defined(RAILYARD_CUDA)
  constexpr const char* kCuda = "with the CUDA part";
#else
  constexpr const char* kCuda = "without the CUDA part";
#endif
  const Environment environment = Environment::detect();
  return {{.check = "build",
           .found = format("railyard {} (commit {}), {}, built by {}, {}", environment.version, environment.commit,
                           kCuda, environment.compiler, environment.build_type)}};
}

Findings check_cpu() {
  const Environment environment = Environment::detect();
  std::string levels;
  for (const codecs::Level level : {codecs::Level::scalar, codecs::Level::avx2, codecs::Level::avx512}) {
    levels += codecs::supported(level) ? format(" {}", codecs::name(level)) : "";
  }
  const auto online = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  Finding finding{.check = "cpu",
                  .found = format("{}: {} of {} cores may be used, {} NUMA nodes; codecs in{}", environment.device,
                                  environment.cores, online, numa_nodes(), levels),
                  .numbers = {{"cores", environment.cores}, {"cores_online", online}, {"numa_nodes", numa_nodes()}}};
  if (codecs::best_level() == codecs::Level::scalar) {
    finding.state = State::note;
    finding.remedy = "codecs and sums take several times as long without AVX2: use a processor that has it";
  }
  return {finding};
}

Findings check_memory() {
  const double total = meminfo_bytes("MemTotal");
  const double usable = usable_memory();
  Finding finding{.check = "memory",
                  .found = format("{:.1f} GiB, of which {:.1f} GiB are available to this process, its control groups "
                                  "considered",
                                  total / kGiB, usable / kGiB),
                  .numbers = {{"total_bytes", total}, {"available_bytes", usable}}};
  if (usable < kLittleMemory) {
    finding.state = State::note;
    finding.remedy =
        "heaps (GroupOptions::heap_bytes) must fit, between processes when they are made: end other programs, or "
        "raise the limit of the container";
  }
  return {finding};
}

Findings check_memory_limits() {
  Finding finding{.check = "memory_limits"};
  const std::string address_space = limit_text(finding, "address_space_bytes", RLIMIT_AS);
  const std::string locked = limit_text(finding, "locked_bytes", RLIMIT_MEMLOCK);
  int overcommit = 0;
  std::ifstream("/proc/sys/vm/overcommit_memory") >> overcommit;
  finding.numbers.emplace_back("overcommit", overcommit);
  finding.found = format("address space: {}; locked memory: {} (Railyard locks none); overcommit mode {}",
                         address_space, locked, overcommit);
  if (address_space != "unlimited") {
    finding.state = State::note;
    finding.remedy = "a heap reserves address space for its limit when it is made: ulimit -v unlimited";
  } else if (overcommit == 2) {
    finding.state = State::note;
    finding.remedy =
        "the kernel promises no memory that it may not have, and refuses heaps earlier: "
        "sysctl vm.overcommit_memory=0, or a larger vm.overcommit_ratio";
  }
  return {finding};
}

Findings measure_memory_bandwidth() {
  if (usable_memory() < kCopyMemory) {
    return {{.check = "memory_bandwidth",
             .state = State::not_checked,
             .found = format("{:.1f} GiB of memory are available; the copies could take too much of it",
                             usable_memory() / kGiB),
             .remedy = format("measured with {:.0f} GiB or more available", kCopyMemory / kGiB)}};
  }
  const int threads = std::min(Environment::detect().cores, kMostCopyThreads);
  World world = World::threads(threads);
  bench::Copies copies(world, 1, std::vector<std::int64_t>(static_cast<std::size_t>(threads), kCopyBytes));
  const bench::Series series = time_together(world, copies.num_slots(), 10, copies.timed());
  const double gbps = static_cast<double>(threads * kCopyBytes) / series.median() * 1e-3;
  Finding finding{.check = "memory_bandwidth",
                  .found = format("memcpy by {} threads: {:.1f} GB/s copied", threads, gbps),
                  .numbers = {{"threads", threads}, {"gbps", gbps}}};
  if (!copies.verified()) {
    finding.state = State::problem;
    finding.found += "; the copies differ from their sources";
    finding.remedy = "this machine's memory cannot be trusted: test it";
  }
  return {finding};
}

}  // namespace railyard::cli::doctor
