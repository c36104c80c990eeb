// SPDX-License-Identifier: Apache-2.0
// Warnings of what a kernel might have left in pinned memory.
#include "throughput/cuda_late_watch.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace railyard::throughput {
namespace {

using namespace std::chrono_literals;
using device::Operation;
using device::Stage;

constexpr auto kDeadline = 10s;

void miss(device::WaitReport& report, int peer, std::uint64_t epoch, Stage stage = Stage::exchange,
          Operation operation = Operation::dispatch) {
  device::MissingPeer& missing = report.missing[peer];
  missing.operation = operation;
  missing.epoch = epoch;
  missing.expected = epoch;
  missing.seen = epoch - 1;
  std::atomic_ref(missing.stage).store(stage, std::memory_order_release);
}

void come(device::WaitReport& report, int peer) {
  std::atomic_ref(report.missing[peer].stage).store(Stage::none, std::memory_order_relaxed);
}

/// Looks of a rank 0, at times of the test's choice.
struct Looks {
  explicit Looks(bool patient = false) : warnings(0, patient) {}
  std::string at(std::chrono::nanoseconds time, std::chrono::nanoseconds deadline = kDeadline) {
    return warnings.look(report, deadline, CudaLateWarnings::Time{} + time);
  }
  device::WaitReport report;
  CudaLateWarnings warnings;
};

TEST(CudaLateWarnings, OneForAnOperationThatNamesEveryoneWhoIsLate) {
  Looks looks;
  EXPECT_EQ(looks.at(0s), "");
  miss(looks.report, 63, 26);
  EXPECT_EQ(looks.at(1s), "");
  miss(looks.report, 2, 26);
  EXPECT_EQ(looks.at(1500ms),
            "rank 0: dispatch, stage exchange, epoch 26: waiting since 1500 ms for rank 2 (expected 0x1a, seen 0x19), "
            "rank 63 (expected 0x1a, seen 0x19)");
  EXPECT_EQ(looks.at(2s), "");
  EXPECT_EQ(looks.at(20s), "");
}

TEST(CudaLateWarnings, AnotherOperationIsAnotherOne) {
  Looks looks;
  for (const Operation operation : {Operation::routed_dispatch, Operation::combine, Operation::route}) {
    for (std::uint64_t epoch = 5; epoch <= 6; ++epoch) {
      miss(looks.report, 1, epoch, Stage::arrival, operation);
      EXPECT_EQ(looks.at(1s), "");
      const std::string line = looks.at(2s);
      EXPECT_NE(line.find("stage arrival, epoch " + std::to_string(epoch)), std::string::npos) << line;
      come(looks.report, 1);
      EXPECT_EQ(looks.at(3s), "");
      miss(looks.report, 2, epoch, Stage::readers, operation);  // late again, and warned of
      EXPECT_EQ(looks.at(4s), "");
      EXPECT_EQ(looks.at(5s), "");
      come(looks.report, 2);
    }
  }
}

TEST(CudaLateWarnings, NoneForAPeerThatCameBeforeTheSecondLook) {
  Looks looks;
  miss(looks.report, 1, 5);
  EXPECT_EQ(looks.at(1s), "");
  come(looks.report, 1);
  EXPECT_EQ(looks.at(2s), "");
  miss(looks.report, 1, 5);
  EXPECT_EQ(looks.at(3s), "");
  EXPECT_NE(looks.at(4s), "");
}

TEST(CudaLateWarnings, NoneForOwnBlocksAndGroupsThatHaveFailed) {
  Looks looks;
  miss(looks.report, 0, 5);
  EXPECT_EQ(looks.at(1s), "");
  EXPECT_EQ(looks.at(2s), "");
  miss(looks.report, 1, 5);
  looks.report.code = static_cast<std::uint32_t>(ErrorCode::timeout);
  EXPECT_EQ(looks.at(3s), "");
  EXPECT_EQ(looks.at(4s), "");
}

TEST(CudaLateWarnings, OnePerDeadlineWhereAGroupWaitsOn) {
  Looks looks(true);
  miss(looks.report, 1, 5);
  std::vector<std::chrono::seconds> warned;
  for (auto time = 0s; time <= 35s; ++time) {
    const std::string line = looks.at(time);
    if (line.empty()) continue;
    warned.push_back(time + 1s);
    EXPECT_NE(line.find("waiting since " + std::to_string(warned.back().count()) + "000 ms for rank 1 "), line.npos);
  }
  EXPECT_EQ(warned, (std::vector<std::chrono::seconds>{2s, 10s, 20s, 30s}));
}

/// A watch whose report is written by the test, and what it has logged.
struct Watched {
  explicit Watched(LogLevel level = LogLevel::warn)
      : log(std::make_shared<diagnostics::Log>(level, [this](LogLevel, std::string_view line) {
          const std::lock_guard lock(mutex);
          lines.emplace_back(line);
          if (throws) throw std::runtime_error("a bug of the callback's");
        })) {}
  [[nodiscard]] std::vector<std::string> logged() {
    const std::lock_guard lock(mutex);
    return lines;
  }
  void wait_for(std::size_t count) {
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (logged().size() < count && std::chrono::steady_clock::now() < limit) std::this_thread::sleep_for(1ms);
  }

  std::mutex mutex;
  std::vector<std::string> lines;
  bool throws = false;
  std::shared_ptr<diagnostics::Log> log;
  std::shared_ptr<device::WaitReport> report = std::make_shared<device::WaitReport>();
};

TEST(CudaLateWatch, LogsWhileKernelsWaitAndNotAfterwards) {
  Watched watched;
  {
    CudaLateWatch watch(watched.report, 3, false, 200ms, watched.log);
    miss(*watched.report, 1, 5);
    watched.wait_for(1);
    come(*watched.report, 1);
    std::this_thread::sleep_for(50ms);
    ASSERT_EQ(watched.logged().size(), 1U);
    EXPECT_NE(watched.logged()[0].find("rank 3: dispatch, stage exchange, epoch 5: waiting since "), std::string::npos)
        << watched.logged()[0];
  }
  miss(*watched.report, 1, 6);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(watched.logged().size(), 1U);
}

TEST(CudaLateWatch, FollowsTheDeadlineAndSurvivesACallbackThatThrows) {
  Watched watched;
  watched.throws = true;
  CudaLateWatch watch(watched.report, 0, true, 1h, watched.log);
  miss(*watched.report, 1, 5);
  watch.set_deadline(20ms);
  watched.wait_for(3);
  EXPECT_GE(watched.logged().size(), 3U);
}

TEST(CudaLateWatch, EndsAtOnceAndNeedsNoThreadWithoutALog) {
  Watched watched(LogLevel::off);
  miss(*watched.report, 1, 5);
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) {
    const auto before = threads();
    const CudaLateWatch silent(watched.report, 0, false, 1h, watched.log);
    EXPECT_LE(threads(), before);  // one of before may still be going
    const CudaLateWatch loud(watched.report, 0, false, 1h, std::make_shared<diagnostics::Log>(LogLevel::warn, nullptr));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_TRUE(watched.logged().empty());
}

}  // namespace
}  // namespace railyard::throughput
