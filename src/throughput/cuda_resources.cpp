// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_resources.hpp"

#include "device/cuda_pinned_memory.hpp"
#include "diagnostics/format.hpp"
#include "throughput/cuda_wait_text.hpp"

#include <algorithm>
#include <atomic>
#include <new>
#include <string>
#include <utility>

namespace railyard::throughput {
namespace {

// Pinning memory may wait for the device, and kernels of other ranks for this one: enough at once for routes and events
// of many layers.
constexpr std::size_t kSlotsAtOnce = 1024;

// The device writes it last, after a fence.
std::uint32_t code_of(CudaWaitReport& report) { return std::atomic_ref(report.code).load(std::memory_order_acquire); }

}  // namespace

CudaResources::CudaResources(int owner, int index, int experts, AbortFlags aborts)
    : rank(owner), device(index), local_experts(experts), aborts_(std::move(aborts)), events_(index) {
  pinned_.push_back(device::take_pinned_memory(sizeof(CudaHostControl)));
  control_ = new (pinned_.back().get()) CudaHostControl;
  pinned_.push_back(device::take_pinned_memory(sizeof(CudaWaitReport)));
  report_ = new (pinned_.back().get()) CudaWaitReport;
  add_slots(kSlotsAtOnce);
}

void CudaResources::add_slots(std::size_t count) {
  const std::size_t bytes =
      round_up_bytes(sizeof(CudaResultSlot) + static_cast<std::size_t>(local_experts) * sizeof(std::int32_t), 128);
  pinned_.push_back(device::take_pinned_memory(count * bytes));
  num_slots_ += count;
  idle_.reserve(num_slots_);  // so that giving one back never allocates
  auto* const memory = static_cast<std::byte*>(pinned_.back().get());
  for (std::size_t i = 0; i < count; ++i) idle_.push_back(reinterpret_cast<CudaResultSlot*>(memory + i * bytes));
}

CudaResultSlot* CudaResources::take_slot() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) add_slots(kSlotsAtOnce);
  CudaResultSlot* const slot = new (idle_.back()) CudaResultSlot;
  idle_.pop_back();
  return slot;
}

void CudaResources::give_slot(CudaResultSlot* slot) noexcept {
  const std::lock_guard lock(mutex_);
  idle_.push_back(slot);
}

void CudaResources::read_back(const void* memory, void* pinned, std::size_t bytes, const char* what) {
  const device::UseDevice current(device);
  read_back_.read(memory, pinned, bytes, what);
}

std::string CudaResources::failure() const {
  const auto code = static_cast<ErrorCode>(code_of(*report_));
  if (code == ErrorCode::ok) return {};
  return describe_failure(*report_, rank, code == ErrorCode::aborted ? abort_reason() : "");
}

bool CudaResources::has_refused() const noexcept {
  return std::atomic_ref(report_->refused).load(std::memory_order_relaxed) != 0;
}

void CudaResources::forget_refusal() noexcept { std::atomic_ref(report_->refused).store(0, std::memory_order_relaxed); }

std::string CudaResources::abort_reason() const {
  const auto raised = std::ranges::find_if(aborts_, [](const auto& flag) { return flag->raised(); });
  return raised != aborts_.end() ? (*raised)->reason() : "abort() was called";
}

Error CudaResources::failure_of(bool combine, std::uint64_t epoch) const {
  told_.store(true, std::memory_order_relaxed);
  const std::string text = failure();
  const bool same_kind = (report_->operation == device::Operation::combine) == combine;
  if (text.empty() || !same_kind || report_->epoch != epoch) {
    return {ErrorCode::suspended, diagnostics::format("rank {}: the group is suspended: {}", rank, text)};
  }
  return {static_cast<ErrorCode>(report_->code), text};
}

}  // namespace railyard::throughput
