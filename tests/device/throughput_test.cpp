// SPDX-License-Identifier: Apache-2.0
// The throughput kernels against the reference: random exchanges on virtual ranks of one GPU and on two GPUs, counters
// near their wrap, deadlines, aborts, mismatches, and many operations in a row.
//
// RAILYARD_TEST_DEVICES limits the GPUs used, RAILYARD_TEST_SCALE multiplies the number of cases.
#include "device/cuda_ranks.hpp"
#include "device/exchange.hpp"
#include "device/scenario.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

namespace railyard::device_tests {
namespace {

int number_from_environment(const char* name, int fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::atoi(text);
}

int num_devices() {
  int count = 0;
  REQUIRE_CUDA(cudaGetDeviceCount(&count));
  return std::min(count, number_from_environment("RAILYARD_TEST_DEVICES", count));
}

/// Of random exchanges: rows of many ranks are narrow, or there would be gigabytes of them.
ScenarioLimits limits_of(const CudaRanks& ranks, int max_tokens, int max_blocks, bool only_plain = false) {
  return {.max_tokens = max_tokens,
          .max_hidden = ranks.size() > 8 ? 136 : 9216,
          .max_blocks = max_blocks,
          .only_plain = only_plain};
}

int scaled(int count) { return std::max(1, count * number_from_environment("RAILYARD_TEST_SCALE", 100) / 100); }

struct Machine {
  int num_ranks;
  int num_devices;
};

void PrintTo(const Machine& machine, std::ostream* stream) {
  *stream << machine.num_ranks << " ranks on " << machine.num_devices << " devices";
}

class OnMachine : public testing::TestWithParam<Machine> {
 protected:
  void SetUp() override {
    if (GetParam().num_devices > num_devices()) {
      GTEST_SKIP() << "needs " << GetParam().num_devices << " GPUs; " << num_devices() << " here";
    }
  }
  [[nodiscard]] CudaRanksOptions options() const {
    return {.num_ranks = GetParam().num_ranks, .num_devices = GetParam().num_devices};
  }
};

TEST_P(OnMachine, RandomExchangesEqualTheReference) {
  CudaRanks ranks(options());
  const int cases = scaled(ranks.size() > 8 ? 16 : 60);
  for (int i = 0; i < cases; ++i) {
    const auto seed = static_cast<std::uint32_t>(1000 * ranks.size() + i);
    const int max_tokens = i % 8 == 7 ? 700 : i % 4 == 1 ? 400 : 150;  // few: blocks route alone
    Scenario scenario =
        random_scenario(seed, ranks.size(), limits_of(ranks, max_tokens, std::min(16, ranks.max_blocks())));
    ranks.clear_memory();
    Exchange exchange(ranks, scenario);
    ASSERT_EQ(exchange.run(i % 2 == 0), "") << scenario.describe();
  }
}

TEST_P(OnMachine, CombinesOfWholeChunksEqualTheReference) {
  CudaRanks ranks(options());
  const int cases = scaled(ranks.size() > 8 ? 16 : 60);
  for (int i = 0; i < cases; ++i) {
    ScenarioLimits limits = limits_of(ranks, ranks.size() > 8 ? 20 : 150, std::min(16, ranks.max_blocks()));
    limits.whole_chunks = true;
    Scenario scenario = random_scenario(static_cast<std::uint32_t>(5000 * ranks.size() + i), ranks.size(), limits);
    ranks.clear_memory();
    Exchange exchange(ranks, scenario);
    ASSERT_EQ(exchange.run(i % 2 == 0), "") << scenario.describe();
  }
}

TEST_P(OnMachine, CountersWrapWhileTheGridChanges) {
  CudaRanks ranks(options());
  const std::uint64_t starts[] = {(std::uint64_t{1} << 31) - 3, (std::uint64_t{1} << 32) - 3,
                                  (std::uint64_t{1} << 48) - 3, (std::uint64_t{1} << 47) - 3};
  for (const std::uint64_t start : starts) {
    ranks.reset(start);
    for (int i = 0; i < 8; ++i) {
      Scenario scenario =
          random_scenario(static_cast<std::uint32_t>(77 + i), ranks.size(),
                          limits_of(ranks, i % 2 == 1 ? 600 : 100, std::min(16, ranks.max_blocks()), true));
      ranks.clear_memory();
      Exchange exchange(ranks, scenario);
      ASSERT_EQ(exchange.run(false), "") << "epoch " << start + static_cast<std::uint64_t>(i) << " "
                                         << scenario.describe();
    }
  }
}

TEST_P(OnMachine, AMissingPeerIsReportedAndNothingTraps) {
  if (GetParam().num_ranks < 2) GTEST_SKIP() << "needs two ranks";
  CudaRanks ranks(options());
  Scenario scenario = random_scenario(5, ranks.size(), limits_of(ranks, 100, 4, true));
  Exchange exchange(ranks, scenario);
  for (int r = 0; r < ranks.size(); ++r) ranks[r].host_control->timeout_ns = 20'000'000;
  const int missing = ranks.size() - 1;
  for (int r = 0; r < missing; ++r) {
    ranks.use(r);
    throughput::launch_dispatch(exchange.rank(r).dispatch);
  }
  ranks.synchronize();
  for (int r = 0; r < missing; ++r) {
    const throughput::CudaWaitReport& report = *ranks[r].report;
    EXPECT_EQ(report.code, static_cast<std::uint32_t>(ErrorCode::timeout));
    EXPECT_EQ(report.operation, throughput::CudaOperation::dispatch);
    EXPECT_EQ(report.stage, throughput::CudaStage::exchange);
    EXPECT_EQ(report.peer, missing);
    EXPECT_EQ(report.epoch, 1U);
    EXPECT_EQ(report.expected, 1U);
    EXPECT_EQ(report.seen, 0U);
    for (int peer = 0; peer < ranks.size(); ++peer) {
      const device::MissingPeer& absent = report.missing[peer];
      EXPECT_EQ(absent.stage, peer == missing ? throughput::CudaStage::exchange : throughput::CudaStage::none);
      EXPECT_EQ(absent.epoch, peer == missing ? 1U : 0U);
      EXPECT_EQ(absent.expected, peer == missing ? 1U : 0U);
    }
    throughput::CudaDispatchResult result;
    to_host(&result, exchange.rank(r).dispatch.result, sizeof(result));
    EXPECT_EQ(result.wait_code, static_cast<std::uint32_t>(ErrorCode::suspended));
  }
  // Later launches of a failed group end at once; a new group on the same memory works.
  const auto start = std::chrono::steady_clock::now();
  ranks.use(0);
  throughput::launch_combine(exchange.rank(0).combine);
  ranks.synchronize();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(10));
  ranks.reset(9);
  Scenario next = random_scenario(6, ranks.size(), limits_of(ranks, 100, 4));
  Exchange after(ranks, next);
  EXPECT_EQ(after.run(true), "");
}

TEST_P(OnMachine, AbortEndsAWait) {
  if (GetParam().num_ranks < 2) GTEST_SKIP() << "needs two ranks";
  CudaRanks ranks(options());
  Scenario scenario = random_scenario(8, ranks.size(), limits_of(ranks, 100, 4, true));
  Exchange exchange(ranks, scenario);
  exchange.launch_dispatch();
  ranks.synchronize();
  ranks.use(1);
  throughput::launch_combine(exchange.rank(1).combine);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ASSERT_EQ(cudaStreamQuery(ranks[1].stream), cudaErrorNotReady);
  ranks[1].host_control->abort = 1;
  ranks.synchronize();
  EXPECT_EQ(ranks[1].report->code, static_cast<std::uint32_t>(ErrorCode::aborted));
  EXPECT_EQ(ranks[1].report->operation, throughput::CudaOperation::combine);
  EXPECT_EQ(ranks[1].report->peer != 1, true);
}

TEST_P(OnMachine, DifferentCallsAreFoundBeforeRowsAreWritten) {
  if (GetParam().num_ranks < 2) GTEST_SKIP() << "needs two ranks";
  CudaRanks ranks(options());
  Scenario scenario = random_scenario(9, ranks.size(), limits_of(ranks, 900, 4, true));
  Exchange exchange(ranks, scenario);
  for (int r = 0; r < ranks.size(); ++r) ranks[r].host_control->timeout_ns = 50'000'000;
  exchange.rank(1).dispatch.descriptor = 99;
  exchange.launch_dispatch();
  ranks.synchronize();
  EXPECT_EQ(ranks[0].report->code, static_cast<std::uint32_t>(ErrorCode::operation_mismatch));
  EXPECT_EQ(ranks[0].report->peer, 1);
  EXPECT_EQ(ranks[0].report->seen, 99U);
  EXPECT_EQ(ranks[1].report->expected, 99U);
}

// Replays of graphs on streams that nobody ordered, say: both would take one epoch.
TEST_P(OnMachine, TwoLaunchesAtOnceAreFound) {
  if (GetParam().num_ranks < 2) GTEST_SKIP() << "needs two ranks";
  for (const bool combines : {false, true}) {
    CudaRanks ranks(options());
    Scenario scenario = random_scenario(10, ranks.size(), limits_of(ranks, 100, 2, true));
    Exchange exchange(ranks, scenario);
    exchange.launch_dispatch();
    ranks.synchronize();
    ranks.use(0);
    cudaStream_t other = nullptr;
    REQUIRE_CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    // The others do not come, so that the first launch waits.
    for (cudaStream_t stream : {ranks[0].stream, other}) {
      exchange.rank(0).dispatch.stream = stream;
      exchange.rank(0).combine.stream = stream;
      if (combines) {
        throughput::launch_combine(exchange.rank(0).combine);
      } else {
        throughput::launch_dispatch(exchange.rank(0).dispatch);
      }
    }
    REQUIRE_CUDA(cudaStreamSynchronize(other));
    ranks.synchronize();
    EXPECT_EQ(ranks[0].report->code, static_cast<std::uint32_t>(ErrorCode::in_flight));
    EXPECT_EQ(ranks[0].report->peer, 0);
    EXPECT_EQ(ranks[0].report->epoch, combines ? 1U : 2U);
    REQUIRE_CUDA(cudaStreamDestroy(other));
  }
}

TEST_P(OnMachine, ATokenCountOutsideItsLimitsIsClampedAndReported) {
  CudaRanks ranks(options());
  Scenario scenario = random_scenario(12, ranks.size(), limits_of(ranks, 100, 4, true));
  Exchange exchange(ranks, scenario);
  const int wrong = ranks.size() - 1;
  ranks.use(wrong);
  throughput::DispatchLaunch& dispatch = exchange.rank(wrong).dispatch;
  auto* const word = ranks[wrong].local.take_array<std::int32_t>(1);
  dispatch.device_num_tokens = word;
  for (const std::int32_t said : {-1, dispatch.num_tokens + 1, dispatch.num_tokens}) {
    ranks.use(wrong);
    to_device(word, &said, sizeof(said));
    exchange.launch_dispatch();
    ranks.synchronize();
    const bool legal = said == dispatch.num_tokens;
    for (int r = 0; r < ranks.size(); ++r) {
      ranks.use(r);
      throughput::CudaDispatchResult result;
      to_host(&result, exchange.rank(r).dispatch.result, sizeof(result));
      EXPECT_EQ(result.status.code, legal ? ErrorCode::ok : ErrorCode::invalid_argument);
      EXPECT_EQ(result.status.rank, legal ? -1 : wrong);
      EXPECT_EQ(result.status.needed, legal ? 0 : said);
      EXPECT_EQ(result.status.capacity, legal ? 0 : dispatch.num_tokens);
      if (r == wrong) {
        EXPECT_EQ(result.num_tokens, std::clamp(said, 0, dispatch.num_tokens));
      }
    }
  }
}

// One block of 128 elements per BF16 code: its largest magnitude is that code's, so every quotient is taken.
TEST_P(OnMachine, QuantisingDividesExactlyForEveryMagnitude) {
  if (GetParam().num_ranks > 2) GTEST_SKIP() << "two ranks are enough";
  CudaRanks ranks(options());
  constexpr int kBlocksPerRow = 64;
  Scenario scenario;
  reference::Config& config = scenario.config;
  const auto num_ranks = static_cast<std::size_t>(ranks.size());
  config.experts_per_rank.assign(num_ranks, 1);
  config.top_k = 1;
  config.hidden = 128 * kBlocksPerRow;
  config.codec = Codec::fp8_e4m3;
  config.capacity.assign(num_ranks, 512 * ranks.size());
  config.heap_exhausted.assign(num_ranks, false);
  std::mt19937 random(3);
  for (std::size_t r = 0; r < num_ranks; ++r) {
    reference::Source source;
    source.tokens = r == 0 ? 32768 / kBlocksPerRow : 0;
    source.ids.assign(static_cast<std::size_t>(source.tokens), ranks.size() - 1);
    for (std::uint32_t code = 0; code < 32768 && r == 0; ++code) {
      for (std::uint32_t i = 0; i < 128; ++i) {
        const std::uint32_t element = i == 77 ? code : (code > 0 ? static_cast<std::uint32_t>(random() % code) : 0);
        const std::uint32_t sign = static_cast<std::uint32_t>(random() % 2) << 15;
        source.x.push_back(static_cast<std::byte>(element & 0xFFU));
        source.x.push_back(static_cast<std::byte>((element | sign) >> 8));
      }
    }
    scenario.sources.push_back(std::move(source));
  }
  scenario.combine.y.assign(num_ranks,
                            reference::Bytes(static_cast<std::size_t>(config.capacity[0] * config.hidden * 2)));
  scenario.placing.blocks.assign(num_ranks, 4);
  scenario.placing.combine_blocks.assign(num_ranks, 4);
  Exchange exchange(ranks, scenario);
  EXPECT_EQ(exchange.run(false), "");
}

// Inputs and outputs stay; every operation is compared on the device with what the checked first one delivered.
TEST_P(OnMachine, ManyOperationsInARowStayEqual) {
  CudaRanks ranks(options());
  constexpr int kSets = 4;
  std::vector<std::unique_ptr<Scenario>> scenarios;
  std::vector<std::unique_ptr<Exchange>> exchanges;
  std::vector<std::vector<std::byte*>> payloads(kSets);
  std::vector<std::vector<std::byte*>> outs(kSets);
  std::vector<std::uint64_t*> differences;
  const int max_blocks = std::min(16, ranks.max_blocks() / 2);
  for (int set = 0; set < kSets; ++set) {
    scenarios.push_back(
        std::make_unique<Scenario>(random_scenario(static_cast<std::uint32_t>(300 + set), ranks.size(),
                                                   limits_of(ranks, set % 3 == 0 ? 900 : 200, max_blocks, true))));
    scenarios.back()->config.tail = Tail::zero;
    exchanges.push_back(std::make_unique<Exchange>(ranks, *scenarios.back()));
    ASSERT_EQ(exchanges.back()->run(false), "") << scenarios.back()->describe();
  }
  const auto payload_bytes = [&](int set, int r) {
    const reference::Config& config = scenarios[static_cast<std::size_t>(set)]->config;
    return throughput::CudaPayloadLayout::of(config.capacity[static_cast<std::size_t>(r)],
                                             exchanges[static_cast<std::size_t>(set)]->shape(),
                                             config.has_weights ? config.top_k : 0)
        .bytes;
  };
  for (int r = 0; r < ranks.size(); ++r) {
    ranks.use(r);
    for (std::size_t set = 0; set < kSets; ++set) {
      const ExchangeRank& mine = exchanges[set]->rank(r);
      payloads[set].push_back(ranks[r].local.take(payload_bytes(static_cast<int>(set), r) + 1));
      outs[set].push_back(ranks[r].local.take(mine.out_bytes));
      REQUIRE_CUDA(cudaMemcpy(payloads[set].back(), mine.payload, payload_bytes(static_cast<int>(set), r),
                              cudaMemcpyDeviceToDevice));
      REQUIRE_CUDA(cudaMemcpy(outs[set].back(), mine.out, mine.out_bytes, cudaMemcpyDeviceToDevice));
    }
    differences.push_back(ranks[r].local.take_array<std::uint64_t>(1));
    REQUIRE_CUDA(cudaMemset(differences.back(), 0, 8));
    REQUIRE_CUDA(cudaDeviceSynchronize());
  }
  std::mt19937 random(1);
  const int operations = scaled(2000);
  for (int i = 0; i < operations; ++i) {
    const std::size_t set = random() % kSets;
    for (int r = 0; r < ranks.size(); ++r) {
      ranks.use(r);
      ExchangeRank& mine = exchanges[set]->rank(r);
      const std::size_t bytes = payload_bytes(static_cast<int>(set), r);
      mine.dispatch.num_blocks = 1 + static_cast<int>(random() % static_cast<unsigned>(max_blocks));
      mine.combine.num_blocks = 1 + static_cast<int>(random() % static_cast<unsigned>(max_blocks));
      REQUIRE_CUDA(cudaMemsetAsync(mine.payload, 0xCD, bytes, ranks[r].stream));
      REQUIRE_CUDA(cudaMemsetAsync(mine.out, 0xCD, mine.out_bytes, ranks[r].stream));
      if (random() % 4 == 0) busy(random() % 30000, ranks[r].stream);
      throughput::launch_dispatch(mine.dispatch);
      count_differences(mine.payload, payloads[set][static_cast<std::size_t>(r)], bytes,
                        differences[static_cast<std::size_t>(r)], ranks[r].stream);
      if (random() % 4 == 0) busy(random() % 30000, ranks[r].stream);
      throughput::launch_combine(mine.combine);
      count_differences(mine.out, outs[set][static_cast<std::size_t>(r)], mine.out_bytes,
                        differences[static_cast<std::size_t>(r)], ranks[r].stream);
    }
    if (i % 50 == 49) ranks.synchronize();
  }
  ranks.synchronize();
  for (int r = 0; r < ranks.size(); ++r) {
    ranks.use(r);
    std::uint64_t count = 0;
    to_host(&count, differences[static_cast<std::size_t>(r)], sizeof(count));
    EXPECT_EQ(count, 0U) << "rank " << r;
    EXPECT_EQ(ranks[r].report->code, 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(OneGpu, OnMachine,
                         testing::Values(Machine{1, 1}, Machine{2, 1}, Machine{3, 1}, Machine{5, 1}, Machine{8, 1},
                                         Machine{20, 1}));
INSTANTIATE_TEST_SUITE_P(TwoGpus, OnMachine, testing::Values(Machine{2, 2}, Machine{8, 2}, Machine{40, 2}));

}  // namespace
}  // namespace railyard::device_tests

int main(int argc, char** argv) {
  // Spinning kernels of several ranks on one GPU need a connection each, and all code loaded before they run.
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
