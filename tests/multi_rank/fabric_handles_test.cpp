// SPDX-License-Identifier: Apache-2.0
// Groups on GPUs that ask for fabric handles: they work, or every rank is told why not. Which of the two must come is
// asked of the driver first, by calls of this test's own. By default ranks are processes.
#include "multi_rank/backend.hpp"
#include "multi_rank/plain.hpp"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

/// A function of libcuda, through the runtime.
template <typename Function>
Function* of_driver(const char* symbol) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion(symbol, &address, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(symbol, &address, cudaEnableDefault, &found);
#endif
  if (error != cudaSuccess || !address) throw std::runtime_error(std::string("the driver has no ") + symbol);
  return reinterpret_cast<Function*>(address);
}

/// What the driver answers a process that asks for a fabric handle.
struct Answer {
  int supported = 0;                    // the attribute
  CUresult attribute = CUDA_SUCCESS;    // asking for it
  CUresult granularity = CUDA_SUCCESS;  // then, in turn, until one fails
  CUresult allocation = CUDA_SUCCESS;
  CUresult handle = CUDA_SUCCESS;

  [[nodiscard]] bool has_attribute() const { return attribute == CUDA_SUCCESS && supported != 0; }
  [[nodiscard]] CUresult trial() const {
    if (granularity != CUDA_SUCCESS) return granularity;
    return allocation != CUDA_SUCCESS ? allocation : handle;
  }
  [[nodiscard]] bool works() const { return has_attribute() && trial() == CUDA_SUCCESS; }
};

Answer ask_driver(int index) {
  if (cudaSetDevice(index) != cudaSuccess) throw std::runtime_error("the GPU cannot be used");
  Answer answer;
  CUdevice device = 0;
  if (of_driver<decltype(cuDeviceGet)>("cuDeviceGet")(&device, index) != CUDA_SUCCESS) {
    throw std::runtime_error("the driver does not have the runtime's GPU");
  }
  answer.attribute = of_driver<decltype(cuDeviceGetAttribute)>("cuDeviceGetAttribute")(
      &answer.supported, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED, device);
  if (!answer.has_attribute()) return answer;
  CUmemAllocationProp wanted{};
  wanted.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  wanted.requestedHandleTypes = CU_MEM_HANDLE_TYPE_FABRIC;
  wanted.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = index};
  std::size_t bytes = 0;
  answer.granularity = of_driver<decltype(cuMemGetAllocationGranularity)>("cuMemGetAllocationGranularity")(
      &bytes, &wanted, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
  if (answer.granularity != CUDA_SUCCESS) return answer;
  CUmemGenericAllocationHandle memory = 0;
  answer.allocation = of_driver<decltype(cuMemCreate)>("cuMemCreate")(&memory, bytes, &wanted, 0);
  if (answer.allocation != CUDA_SUCCESS) return answer;
  CUmemFabricHandle handle{};
  answer.handle = of_driver<decltype(cuMemExportToShareableHandle)>("cuMemExportToShareableHandle")(
      &handle, memory, CU_MEM_HANDLE_TYPE_FABRIC, 0);
  of_driver<decltype(cuMemRelease)>("cuMemRelease")(memory);
  return answer;
}

std::string name_of(CUresult result) {
  const char* text = nullptr;
  of_driver<decltype(cuGetErrorName)>("cuGetErrorName")(result, &text);
  return text ? text : "?";
}

/// What a refusal must say: the reason, and what to do.
std::vector<std::string> words_for(const Answer& answer) {
  std::vector<std::string> words = {"gpu_handles is fabric", "RAILYARD_GPU_HANDLES=fd"};
  if (!answer.has_attribute()) {
    words.emplace_back("CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED is " +
                       (answer.attribute == CUDA_SUCCESS ? "0" : name_of(answer.attribute)));
    return words;
  }
  words.push_back(name_of(answer.trial()));
  if (answer.trial() == CUDA_ERROR_NOT_PERMITTED) {
    words.insert(words.end(), {"no IMEX channel", "nvidia-imex", "/dev/nvidia-caps-imex-channels"});
  }
  if (answer.trial() == CUDA_ERROR_NOT_SUPPORTED) words.emplace_back("nvidia-fabricmanager");
  return words;
}

class FabricHandles : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("RAILYARD_GPU_HANDLES"); }

  // A rank for each GPU where there are several: the handles then cross between them.
  FabricHandles() {
    setenv("RAILYARD_TEST_BACKEND", "cuda-processes", 0);
    const auto gpus = static_cast<int>(backend().with_devices({}).devices.size());
    scenario_ = plain_scenario({.ranks = std::clamp(gpus, 2, 4)}, Mode::throughput);
    scenario_.options.heap_bytes = std::size_t{8} << 20;
    scenario_.options.heap_limit_bytes = std::size_t{32} << 20;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      rounds_.push_back(plain_round(scenario_, seed, Layout::rank_major));
    }
  }

  /// A group with these options does what the driver's answers say. The ranks' answers may differ.
  void expect_what_the_driver_says(Rank& rank, const Place& place, const GroupOptions& options) const {
    const Answer mine = ask_driver(rank.device().index);
    std::vector<Answer> answers(static_cast<std::size_t>(rank.world_size()));
    rank.all_gather(&mine, answers.data(), sizeof(mine));
    const auto refuses = std::ranges::find_if(answers, [](const Answer& answer) { return !answer.works(); });
    if (rank.index() == 0) {
      std::fprintf(stderr, "fabric handles: attribute %d, trial %s: a group must %s\n", mine.supported,
                   mine.has_attribute() ? name_of(mine.trial()).c_str() : "not made",
                   refuses == answers.end() ? "work" : "be refused");
    }
    if (refuses == answers.end()) {
      Group group(rank, options);
      use(place, group, rank);
      return;
    }
    std::vector<std::string> words = words_for(mine.works() ? *refuses : mine);
    if (mine.works()) words.push_back("rank " + std::to_string(refuses - answers.begin()));
    expect_error(place, ErrorCode::unsupported, words, [&] { Group group(rank, options); });
    rank.barrier();
    GroupOptions by_file = options;
    by_file.gpu_handles = GpuHandles::fd;
    Group group(rank, by_file);  // a refusal leaves nothing behind
    use(place.at("by file descriptors"), group, rank);
  }

  Scenario scenario_;
  std::vector<PlainRound> rounds_;

 private:
  /// Exchanges, before and after the heap has grown by a part with a handle of its own.
  void use(const Place& place, Group& group, Rank& rank) const {
    round_trip(place, group, scenario_, rounds_[0], rank.device());
    group.grow_heap(std::size_t{8} << 20);
    // Over the end of the first part: what comes next lies in the second.
    const Tensor held = group.allocate({std::int64_t{9} << 20}, DType::uint8, backend().stream(rank.device()));
    for (std::size_t i = 1; i < rounds_.size(); ++i) {
      round_trip(place.at("grown"), group, scenario_, rounds_[i], rank.device());
    }
  }
};

TEST_F(FabricHandles, AskedForByTheEnvironmentWorkOrAreRefusedByName) {
  setenv("RAILYARD_GPU_HANDLES", "fabric", 1);
  EXPECT_EQ(
      run_ranks(scenario_.ranks(),
                [&](Rank& rank, const Place& place) { expect_what_the_driver_says(rank, place, scenario_.options); }),
      "");
}

TEST_F(FabricHandles, AskedForByAGroupWorkOrAreRefusedByName) {
  setenv("RAILYARD_GPU_HANDLES", "fd", 1);
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = scenario_.options;
                        options.gpu_handles = GpuHandles::fabric;
                        expect_what_the_driver_says(rank, place, options);
                      }),
            "");
}

TEST_F(FabricHandles, AskedForByOneRankAloneAreAMismatch) {
  EXPECT_EQ(run_ranks(scenario_.ranks(),
                      [&](Rank& rank, const Place& place) {
                        GroupOptions options = scenario_.options;
                        if (rank.index() == 1) options.gpu_handles = GpuHandles::fabric;
                        expect_error(place, ErrorCode::config_mismatch,
                                     {"gpu_handles is fd on rank 0 and fabric on rank 1"},
                                     [&] { Group group(rank, options); });
                        rank.barrier();
                        Group group(rank, scenario_.options);
                        round_trip(place, group, scenario_, rounds_[0], rank.device());
                      }),
            "");
}

}  // namespace
}  // namespace railyard::multi_rank
