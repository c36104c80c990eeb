// SPDX-License-Identifier: Apache-2.0
#include "topology/nvml.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <array>
#include <cstddef>

namespace railyard::topology {
namespace {

using diagnostics::format;

constexpr int kSuccess = 0;
constexpr unsigned kMostLinks = 64;  // beyond a GPU's own NVML refuses the number
constexpr const char* kSeeAll =
    "let the processes see all GPUs of their group (CUDA_VISIBLE_DEVICES, the container's devices); those of another "
    "machine need RAILYARD_GPU_HANDLES=fabric";

struct Capability {
  int index;  // nvmlGpuP2PCapsIndex_t
  const char* lack;
};
constexpr std::array kNeeded{
    Capability{2, "is not joined by NVLink to"}, Capability{0, "cannot load from the memory of"},
    Capability{1, "cannot store to the memory of"}, Capability{3, "cannot add atomically in the memory of"}};

void require(const Nvml& nvml, int error, const std::string& what) {
  if (error == kSuccess) return;
  throw Error(ErrorCode::unsupported, format("{}; NVML says: {}; {}", what, nvml.error_text(error), kSeeAll));
}

Nvml::Device find(const Nvml& nvml, const CudaIdentity& gpu) {
  Nvml::Device device = nullptr;
  const std::string uuid = uuid_of(gpu);
  require(nvml, nvml.device_by_uuid(uuid.c_str(), &device), format("what joins {} to others is not known", uuid));
  return device;
}

void check_direction(const Nvml& nvml, Nvml::Device from, Nvml::Device to, const std::string& from_name,
                     const std::string& to_name) {
  for (const Capability& capability : kNeeded) {
    int status = 0;
    const int error = nvml.p2p_status(from, to, capability.index, &status);
    require(nvml, error, format("what joins {} to {} is not known", from_name, to_name));
    if (status == kSuccess) continue;
    throw Error(ErrorCode::unsupported,
                format("{} {} {} (NVML's status {}); ranks of one group need NVLink between their GPUs (see "
                       "nvidia-smi topo -m): choose other devices",
                       from_name, capability.lack, to_name, status));
  }
}

}  // namespace

std::string uuid_of(const CudaIdentity& gpu) {
  std::string text = "GPU";
  for (std::size_t i = 0; i < gpu.size(); ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += format("{:02x}", static_cast<unsigned char>(gpu[i]));
  }
  return text;
}

void check_links(const Nvml& nvml, int device, const CudaIdentity& mine, const std::vector<CudaIdentity>& others) {
  if (others.empty()) return;
  const std::string own_name = format("cuda:{} ({})", device, uuid_of(mine));
  const Nvml::Device own = find(nvml, mine);
  for (const CudaIdentity& gpu : others) {
    const std::string name = uuid_of(gpu);
    const Nvml::Device other = find(nvml, gpu);
    check_direction(nvml, own, other, own_name, name);
    check_direction(nvml, other, own, name, own_name);
  }
}

int count_links(const Nvml& nvml, const CudaIdentity& gpu) {
  const Nvml::Device device = find(nvml, gpu);
  int links = 0;
  for (unsigned link = 0; link < kMostLinks; ++link) {
    int active = 0;
    if (nvml.link_state(device, link, &active) != kSuccess) break;
    links += active != 0 ? 1 : 0;
  }
  return links;
}

}  // namespace railyard::topology
