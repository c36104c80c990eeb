// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_late_watch.hpp"

#include "bootstrap/background_thread.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <utility>

namespace railyard::throughput {

using namespace std::chrono_literals;

std::string CudaLateWarnings::look(device::WaitReport& report, std::chrono::nanoseconds deadline, Time now) {
  std::optional<CudaLateOperation> late = find_late_operation(report, rank_);
  if (!late) {
    if (!warned_) late_.reset();  // it came before the second look
    return {};
  }
  if (!late_ || !late_->is_same(*late)) {
    late_ = std::move(late);
    first_look_ = now;
    warned_.reset();
    return {};
  }
  const std::chrono::nanoseconds waited = deadline / 10 + (now - first_look_);
  if (warned_ && (!patient_ || waited < *warned_)) return {};
  if (!warned_) {
    warned_ = deadline;
  } else {
    while (*warned_ <= waited) *warned_ += deadline;
  }
  return diagnostics::format("rank {}: {}: waiting since {} ms for {}", rank_, late->place,
                             std::chrono::duration_cast<std::chrono::milliseconds>(waited).count(), late->peers);
}

CudaLateWatch::CudaLateWatch(std::shared_ptr<device::WaitReport> report, int rank, bool patient,
                             std::chrono::nanoseconds deadline, std::shared_ptr<diagnostics::Log> log)
    : report_(std::move(report)), log_(std::move(log)), warnings_(rank, patient), deadline_(deadline) {
  if (!log_->enabled(LogLevel::warn)) return;
  thread_ = bootstrap::start_background_thread([this] { run(); }, "warnings of late peers");
}

CudaLateWatch::~CudaLateWatch() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void CudaLateWatch::set_deadline(std::chrono::nanoseconds deadline) {
  {
    const std::lock_guard lock(mutex_);
    deadline_ = deadline;
  }
  changed_.notify_one();
}

void CudaLateWatch::run() {
  std::unique_lock lock(mutex_);
  while (!ends_) {
    const std::chrono::nanoseconds deadline = deadline_;
    const auto period = std::clamp<std::chrono::nanoseconds>(deadline / 20, 10ms, 1s);
    if (changed_.wait_for(lock, period, [&] { return ends_ || deadline_ != deadline; })) continue;
    lock.unlock();
    try {
      const std::string warning = warnings_.look(*report_, deadline, std::chrono::steady_clock::now());
      if (!warning.empty()) log_->write(LogLevel::warn, warning);
    } catch (...) {  // no memory, or the callback's own: nobody to tell
    }
    lock.lock();
  }
}

}  // namespace railyard::throughput
