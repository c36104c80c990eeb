// SPDX-License-Identifier: Apache-2.0
#include "cli/environment.hpp"

#include "cli/names.hpp"
#include "codecs/implementation.hpp"
#include "diagnostics/format.hpp"

#include <railyard/version.hpp>

#include <sched.h>
#include <sys/utsname.h>

#include <fstream>
#include <thread>

#ifndef RAILYARD_BUILD_TYPE
#error "src/cli/CMakeLists.txt defines RAILYARD_BUILD_TYPE"
#endif

namespace railyard::cli {
namespace {

#if defined(RAILYARD_CUDA)
constexpr const char* kDevices = "host, cuda";
#else
constexpr const char* kDevices = "host";
#endif

std::string compiler_name() {
#if defined(__clang__)
  return diagnostics::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return diagnostics::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

/// Of the highest level that sysfs lists for core 0. Sizes there end in K.
std::size_t last_level_cache_bytes() {
  std::size_t bytes = 0;
  int highest = 0;
  for (int index = 0; index < 16; ++index) {
    const std::string folder = diagnostics::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    std::ifstream level_file(folder + "level");
    std::ifstream size_file(folder + "size");
    int level = 0;
    std::size_t kilobytes = 0;
    if (level_file >> level && size_file >> kilobytes && level >= highest) {
      highest = level;
      bytes = kilobytes * 1024;
    }
  }
  return bytes;
}

int usable_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) {
    return CPU_COUNT(&cores);
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

std::size_t available_memory_bytes() {
  const std::string text = field_of("/proc/meminfo", "MemAvailable");
  return text.empty() ? 0 : static_cast<std::size_t>(std::stoull(text)) * 1024;
}

}  // namespace

std::string field_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (line.starts_with(key) && colon != std::string::npos) {
      const std::size_t value = line.find_first_not_of(" \t", colon + 1);
      return value == std::string::npos ? "" : line.substr(value);
    }
  }
  return "";
}

Environment Environment::detect() {
  Environment result;
  result.device = field_of("/proc/cpuinfo", "model name");
  utsname system{};
  if (uname(&system) == 0) {
    result.system = diagnostics::format("{} {} {}", system.sysname, system.release, system.machine);
  }
  if (result.device.empty()) {
    result.device = system.machine;
  }
  result.cores = usable_cores();
  result.cache_bytes = last_level_cache_bytes();
  result.memory_bytes = available_memory_bytes();
  result.compiler = compiler_name();
  result.build_type = RAILYARD_BUILD_TYPE;
  result.version = railyard::version();
  result.commit = railyard::commit();
  result.vector_level = codecs::name(codecs::best_level());
  return result;
}

std::string version_text() {
  const Environment environment = Environment::detect();
  return diagnostics::format(
      "railyard {} (commit {})\n"
      "built by {}, {}\n"
      "devices: {}; launch: threads; vector instructions here: {}\n"
      "codecs: {}\n"
      "layouts: {}\n"
      "modes: {}",
      environment.version, environment.commit, environment.compiler, environment.build_type, kDevices,
      environment.vector_level, names_of(kCodecs), names_of(kLayouts), names_of(kModes));
}

}  // namespace railyard::cli
