// SPDX-License-Identifier: Apache-2.0
#include "topology/nvml.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace railyard::topology {
namespace {

constexpr CudaIdentity kFirst{0x01, 0x23, 0x45, 0x67, '\x89', '\xab', '\xcd', '\xef',
                              0x01, 0x23, 0x45, 0x67, '\x89', '\xab', '\xcd', '\xef'};
constexpr CudaIdentity kSecond{2};
constexpr CudaIdentity kThird{3};

// nvmlGpuP2PCapsIndex_t
constexpr int kRead = 0;
constexpr int kWrite = 1;
constexpr int kNvlink = 2;
constexpr int kAtomics = 3;
constexpr int kNotSupported = 5;  // nvmlGpuP2PStatus_t
constexpr int kNotFound = 6;      // nvmlReturn_t
constexpr int kUnknown = 999;

// A machine with some GPUs, whose handles are their places here.
struct Machine {
  std::vector<std::string> gpus;
  std::map<std::tuple<std::uintptr_t, std::uintptr_t, int>, int> statuses;  // from, to, capability; else 0
  int error_of_status = 0;
  std::vector<int> links;  // of each GPU: whether it is up
};
Machine machine;

Nvml::Device handle(std::uintptr_t gpu) { return reinterpret_cast<Nvml::Device>(gpu); }
std::uintptr_t number(Nvml::Device device) { return reinterpret_cast<std::uintptr_t>(device); }

Nvml fake() {
  Nvml nvml;
  nvml.device_by_uuid = [](const char* uuid, Nvml::Device* device) {
    for (std::size_t gpu = 0; gpu < machine.gpus.size(); ++gpu) {
      if (machine.gpus[gpu] != uuid) continue;
      *device = handle(gpu + 1);
      return 0;
    }
    return kNotFound;
  };
  nvml.p2p_status = [](Nvml::Device from, Nvml::Device to, int capability, int* status) {
    const auto found = machine.statuses.find({number(from), number(to), capability});
    *status = found == machine.statuses.end() ? 0 : found->second;
    return machine.error_of_status;
  };
  nvml.link_state = [](Nvml::Device, unsigned link, int* active) {
    if (link >= machine.links.size()) return 2;  // an invalid argument
    *active = machine.links[link];
    return 0;
  };
  nvml.error_text = [](int error) { return error == kNotFound ? "Not Found" : "Unknown Error"; };
  return nvml;
}

class Links : public ::testing::Test {
 protected:
  void SetUp() override { machine = {.gpus = {uuid_of(kFirst), uuid_of(kSecond)}, .statuses = {}, .links = {}}; }

  // Of cuda:4, which is the first, with these; "" if there is none.
  static std::string refusal_of(const std::vector<CudaIdentity>& others) {
    try {
      check_links(fake(), 4, kFirst, others);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      return error.what();
    }
  }

  static void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
    }
  }
};

TEST_F(Links, UuidsReadAsNvmlWritesThem) {
  EXPECT_EQ(uuid_of(kFirst), "GPU-01234567-89ab-cdef-0123-456789abcdef");
  EXPECT_EQ(uuid_of(kSecond), "GPU-02000000-0000-0000-0000-000000000000");
}

TEST_F(Links, GpusWithNvlinkBetweenThemAreTaken) {
  EXPECT_EQ(refusal_of({}), "");
  EXPECT_EQ(refusal_of({kSecond}), "");
}

TEST_F(Links, WhatIsLackingIsNamedWhicheverWay) {
  const std::map<int, std::string> lacks = {{kNvlink, "is not joined by NVLink to"},
                                            {kRead, "cannot load from the memory of"},
                                            {kWrite, "cannot store to the memory of"},
                                            {kAtomics, "cannot add atomically in the memory of"}};
  const std::string first = "cuda:4 (" + uuid_of(kFirst) + ")";
  for (const auto& [capability, lack] : lacks) {
    machine.statuses = {{{1, 2, capability}, kNotSupported}};
    expect_parts(refusal_of({kSecond}), {first + " " + lack + " " + uuid_of(kSecond), "status 5", "other devices"});
    machine.statuses = {{{2, 1, capability}, kNotSupported}};
    expect_parts(refusal_of({kSecond}), {uuid_of(kSecond) + " " + lack + " " + first});
  }
}

TEST_F(Links, EveryOtherGpuIsAskedAbout) {
  machine.gpus.push_back(uuid_of(kThird));
  EXPECT_EQ(refusal_of({kSecond, kThird}), "");
  machine.statuses = {{{1, 3, kNvlink}, kNotSupported}};
  expect_parts(refusal_of({kSecond, kThird}), {uuid_of(kThird)});
}

TEST_F(Links, WhatNvmlCannotTellIsRefused) {
  expect_parts(refusal_of({kThird}),
               {uuid_of(kThird), "Not Found", "CUDA_VISIBLE_DEVICES", "RAILYARD_GPU_HANDLES=fabric"});
  machine.error_of_status = kUnknown;
  expect_parts(refusal_of({kSecond}), {uuid_of(kFirst), uuid_of(kSecond), "Unknown Error", "CUDA_VISIBLE_DEVICES"});
  machine.gpus = {uuid_of(kSecond)};
  expect_parts(refusal_of({kSecond}), {uuid_of(kFirst), "Not Found"});
}

TEST_F(Links, ThoseThatAreUpAreCounted) {
  EXPECT_EQ(count_links(fake(), kFirst), 0);
  machine.links = {1, 1, 0, 1};
  EXPECT_EQ(count_links(fake(), kFirst), 3);
  EXPECT_THROW(static_cast<void>(count_links(fake(), kThird)), Error);
}

}  // namespace
}  // namespace railyard::topology
