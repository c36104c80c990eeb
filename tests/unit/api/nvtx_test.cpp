// SPDX-License-Identifier: Apache-2.0
// This program is its own profiler: NVTX finds InitializeInjectionNvtx2_fnptr and hands it its table of functions.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#define NVTX_NO_IMPL  // the library has it; the symbol below would be defined twice
#include <nvtx3/nvToolsExt.h>

#include <map>
#include <mutex>
#include <string>

namespace {

std::mutex mutex;
std::map<std::string, int> pushed;
int open_ranges = 0;

nvtxDomainHandle_t NVTX_API make_domain(const char* name) {
  static std::map<std::string, int> domains;
  const std::lock_guard lock(mutex);
  return reinterpret_cast<nvtxDomainHandle_t>(&++domains[name]);
}

int NVTX_API push(nvtxDomainHandle_t, const nvtxEventAttributes_t* attributes) {
  const std::lock_guard lock(mutex);
  ++pushed[attributes->message.ascii];
  return open_ranges++;
}

int NVTX_API pop(nvtxDomainHandle_t) {
  const std::lock_guard lock(mutex);
  return --open_ranges;
}

int NVTX_API attach(NvtxGetExportTableFunc_t get_table) {
  const auto* const callbacks = static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned int size = 0;
  if (callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) return 0;
  *table[NVTX_CBID_CORE2_DomainCreateA] = reinterpret_cast<NvtxFunctionPointer>(&make_domain);
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(&push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(&pop);
  return 1;
}

}  // namespace

extern "C" {
NvtxInitializeInjectionNvtxFunc_t InitializeInjectionNvtx2_fnptr = &attach;
}

namespace railyard::multi_rank {
namespace {

TEST(Nvtx, EveryPartOfAnOperationIsARangeWithItsName) {
  const Scenario scenario = plain_scenario({.ranks = 2}, Mode::throughput);
  const PlainRound plain = plain_round(scenario, 1, Layout::rank_major);
  EXPECT_EQ(run_ranks(2,
                      [&](Rank& rank, const Place& place) {
                        Group group(rank, scenario.options);
                        round_trip(place, group, scenario, plain, rank.device());
                      }),
            "");
  EXPECT_EQ(pushed, (std::map<std::string, int>{
                        {"dispatch", 2}, {"dispatch: receive", 2}, {"combine", 2}, {"combine: receive", 2}}));
  EXPECT_EQ(open_ranges, 0);
}

}  // namespace
}  // namespace railyard::multi_rank
