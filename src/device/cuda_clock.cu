// SPDX-License-Identifier: Apache-2.0
#include "device/clock.cuh"
#include "device/cuda_call.hpp"
#include "device/cuda_clock.hpp"
#include "device/cuda_pinned_memory.hpp"
#include "device/memory.cuh"
#include "diagnostics/trace.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>

namespace railyard::device {
namespace {

constexpr std::uint32_t kQuestions = 64;
constexpr std::int64_t kPatienceNs = 200'000'000;  // of the host
constexpr std::uint64_t kLimitNs = 100'000'000;    // of the kernel, for all questions

/// Pinned memory.
struct Questions {
  std::uint32_t asked = 0;
  std::uint32_t unused = 0;
  std::uint64_t answers[kQuestions] = {};  // 0: not there yet
};

/// One thread. Ends with the last question, or at its limit.
__global__ void answer_kernel(Questions* questions) {
  const std::uint64_t start = global_time_ns();
  for (std::uint32_t n = 0; n < kQuestions; ++n) {
    while (load_relaxed_system(&questions->asked) <= n) {
      if (global_time_ns() - start > kLimitNs) return;
    }
    store_relaxed_system(&questions->answers[n], global_time_ns());
  }
}

/// host - device lies between the two.
struct Bounds {
  std::int64_t low = std::numeric_limits<std::int64_t>::min();
  std::int64_t high = std::numeric_limits<std::int64_t>::max();
};

/// False if an answer does not come.
bool ask(Questions& questions, Bounds& bounds, std::int64_t& last_answer) {
  const std::int64_t begin = diagnostics::trace_clock();
  for (std::uint32_t n = 0; n < kQuestions; ++n) {
    const std::int64_t asked = diagnostics::trace_clock();
    std::atomic_ref(questions.asked).store(n + 1, std::memory_order_release);
    std::uint64_t answer = 0;
    while ((answer = std::atomic_ref(questions.answers[n]).load(std::memory_order_acquire)) == 0) {
      if (diagnostics::trace_clock() - begin > kPatienceNs) return false;
    }
    const std::int64_t received = diagnostics::trace_clock();
    last_answer = static_cast<std::int64_t>(answer);
    bounds.low = std::max(bounds.low, asked - last_answer);
    bounds.high = std::min(bounds.high, received - last_answer);
  }
  return true;
}

}  // namespace

std::optional<ClockPair> compare_clocks(cudaStream_t stream) {
  std::shared_ptr<void> memory = take_pinned_memory(sizeof(Questions));
  auto* questions = new (memory.get()) Questions;
  void* arguments[] = {&questions};
  require_cuda(cudaLaunchKernel(clock_kernel_address(), dim3(1), dim3(1), arguments, 0, stream), "reading its clock");
  Bounds bounds;
  std::int64_t answer = 0;
  if (!ask(*questions, bounds, answer)) {
    // The kernel may still come.
    static_cast<void>(new std::shared_ptr<void>(std::move(memory)));
    return std::nullopt;
  }
  require_cuda(cudaStreamSynchronize(stream), "reading its clock");
  // A clock that steps shows less than the time: the bounds may cross by a step.
  const std::int64_t width = bounds.high - bounds.low;
  return ClockPair{.device_ns = answer,
                   .host_ns = answer + bounds.low + width / 2,
                   .uncertainty_ns = (width < 0 ? -width : width) / 2};
}

const void* clock_kernel_address() { return reinterpret_cast<const void*>(&answer_kernel); }

}  // namespace railyard::device
