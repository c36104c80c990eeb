// SPDX-License-Identifier: Apache-2.0
// The warning at a tenth of the deadline, where kernels wait: they leave in pinned memory whom they miss, and the host
// looks there now and then. It never calls CUDA.
#pragma once

#include "device/wait_report.hpp"
#include "diagnostics/log.hpp"
#include "throughput/cuda_wait_text.hpp"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace railyard::throughput {

/// When to warn of what a report says.
class CudaLateWarnings {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `patient`: the group waits past its deadlines, and each that passes is another warning.
  CudaLateWarnings(int rank, bool patient) : rank_(rank), patient_(patient) {}

  /// The warning that is due, or "". An operation that misses peers is warned of once, at the second look that finds
  /// it: threads that wait for other peers of it say so within microseconds. Then it misses them for a tenth of the
  /// deadline, and what has passed since the first look, at least.
  [[nodiscard]] std::string look(device::WaitReport& report, std::chrono::nanoseconds deadline, Time now);

 private:
  int rank_;
  bool patient_;
  std::optional<CudaLateOperation> late_;  // the latest
  Time first_look_;
  std::optional<std::chrono::nanoseconds> warned_;  // of it: the wait after which the next warning is due, or none is
};

/// Logs them, from a thread of its own that wakes each twentieth of the deadline, 10 ms to 1 s.
class CudaLateWatch {
 public:
  /// Of `rank`'s group, until destruction, after which nothing is logged. Throws RY-OUT-OF-MEMORY.
  CudaLateWatch(std::shared_ptr<device::WaitReport> report, int rank, bool patient, std::chrono::nanoseconds deadline,
                std::shared_ptr<diagnostics::Log> log);
  /// Waits for a warning that is being logged.
  ~CudaLateWatch();
  CudaLateWatch(const CudaLateWatch&) = delete;
  CudaLateWatch& operator=(const CudaLateWatch&) = delete;

  void set_deadline(std::chrono::nanoseconds deadline);

 private:
  void run();

  const std::shared_ptr<device::WaitReport> report_;
  const std::shared_ptr<diagnostics::Log> log_;
  CudaLateWarnings warnings_;  // the thread's
  std::mutex mutex_;
  std::condition_variable changed_;
  std::chrono::nanoseconds deadline_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace railyard::throughput
