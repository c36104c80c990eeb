// SPDX-License-Identifier: Apache-2.0
// Waits with a deadline. The first wait of a group that ends without its peer records who waited for what, and the
// kernel goes on to its end without trapping: the other waits end at once, and say which peers they miss.
#pragma once

#include "device/clock.cuh"
#include "device/memory.cuh"
#include "device/wait_report.hpp"

#include <railyard/error.hpp>

#include <cstdint>

namespace railyard::device {

/// What all waits of one launch share.
struct WaitScope {
  WaitState* state;
  const HostControl* host_control;
  WaitReport* report;
  Operation operation;
  std::uint64_t epoch;
};

/// What one wait is for.
struct WaitSite {
  Stage stage;
  std::int32_t peer;
  std::uint64_t expected;
};

/// Sets `failed`; the first caller of the group writes the report. The host reads `code` and then the rest.
__device__ __noinline__ inline void record_failure(WaitScope scope, WaitSite site, ErrorCode code, std::uint64_t seen) {
  if (exchange_relaxed_device(&scope.state->failed, 1) != 0) return;
  WaitReport* const report = scope.report;
  report->operation = scope.operation;
  report->stage = site.stage;
  report->peer = site.peer;
  report->epoch = scope.epoch;
  report->expected = site.expected;
  report->seen = seen;
  fence_acquire_release_system();
  store_relaxed_system(&report->code, static_cast<std::uint32_t>(code));
}

/// A launch ends at once, since its group has failed before.
__device__ __forceinline__ void record_refusal(WaitReport* report) { store_relaxed_system(&report->refused, 1U); }

__device__ __forceinline__ std::uint32_t* missing_word(WaitScope scope, int peer) {
  return reinterpret_cast<std::uint32_t*>(&scope.report->missing[peer].stage);
}

/// Says that the wait misses its peer. One writer's values are as good as another's.
__device__ __noinline__ inline void record_missing(WaitScope scope, WaitSite site, std::uint64_t seen) {
  MissingPeer& missing = scope.report->missing[site.peer];
  missing.operation = scope.operation;
  missing.epoch = scope.epoch;
  missing.expected = site.expected;
  missing.seen = seen;
  fence_acquire_release_system();
  store_relaxed_system(missing_word(scope, site.peer), static_cast<std::uint32_t>(site.stage));
}

/// The same, unless it has been said.
__device__ __forceinline__ void tell_missing(WaitScope scope, WaitSite site, std::uint64_t seen) {
  std::uint32_t* const told = &scope.state->told[site.peer];
  if (load_relaxed_device(told) == 0 && exchange_relaxed_device(told, 1) == 0) record_missing(scope, site, seen);
}

/// The peer has come to a wait that was late. If other threads still miss it, one of them says so again: what it then
/// writes comes after this word, by the fences here and in record_missing.
__device__ __noinline__ inline void forget_missing(WaitScope scope, int peer) {
  store_relaxed_system(missing_word(scope, peer), 0U);
  fence_acquire_release_system();
  store_relaxed_device(&scope.state->told[peer], 0U);
}

/// Reads HostControl for all waits of the group, if it is time.
__device__ __forceinline__ void look_at_host(WaitScope scope, std::uint64_t now_ns) {
  WaitState& state = *scope.state;
  const std::uint64_t due_ns = load_relaxed_device(&state.next_look_ns);
  if (now_ns < due_ns) return;
  if (compare_exchange_relaxed_device(&state.next_look_ns, due_ns, now_ns + kLookAtHostEveryNs) != due_ns) return;
  store_relaxed_device(&state.timeout_ns, load_relaxed_system(&scope.host_control->timeout_ns));
  store_relaxed_device(&state.warn_ns, load_relaxed_system(&scope.host_control->warn_ns));
  store_relaxed_device(&state.abort, load_relaxed_system(&scope.host_control->abort));
  store_release_device(&state.looked_ns, now_ns);
}

/// What is to become of a wait whose peer has not come.
enum class WaitVerdict : std::uint32_t {
  goes_on,
  is_late,     // goes on, and the host may warn
  gives_up,    // the host aborts, or the deadline has passed: recorded
  looks_once,  // the group has failed elsewhere: the peer may have come since
};

/// `start_ns` is when the wait began, or a little later. What the host said before then may be of another epoch of the
/// group: the wait goes on until somebody looks again.
__device__ __noinline__ inline WaitVerdict judge(WaitScope scope, WaitSite site, std::uint64_t seen,
                                                 std::uint64_t start_ns) {
  const WaitState& state = *scope.state;
  if (load_relaxed_device(&state.failed) != 0) return WaitVerdict::looks_once;
  const std::uint64_t now = global_time_ns();
  look_at_host(scope, now);
  if (load_acquire_device(&state.looked_ns) < start_ns) return WaitVerdict::goes_on;
  const std::uint64_t timeout = load_relaxed_device(&state.timeout_ns);
  const std::uint64_t warn = load_relaxed_device(&state.warn_ns);
  const bool aborted = load_relaxed_device(&state.abort) != 0;
  const std::uint64_t waited = now - start_ns;
  if (aborted || (timeout != 0 && waited > timeout)) {
    record_failure(scope, site, aborted ? ErrorCode::aborted : ErrorCode::timeout, seen);
    return WaitVerdict::gives_up;
  }
  if (warn == 0 || waited <= warn) return WaitVerdict::goes_on;
  tell_missing(scope, site, seen);
  return WaitVerdict::is_late;
}

/// Spins until `probe(seen)` is true (it loads with acquire and leaves what it saw), or the wait is to end without its
/// peer: false. The first polls look at nothing else: reading the clock, and what the host says, takes longer than a
/// peer that is on time. `waited`: how long it took or the wait lasted, in cycles of the SM, whose reading costs
/// nothing; 0 if the first look found it. The wait that ends those of its group takes no last look: its operation must
/// fail.
template <class Probe>
__device__ __forceinline__ bool wait_until(const WaitScope& scope, const WaitSite& site, float& waited, Probe probe) {
  constexpr int kEagerPolls = 64;
  constexpr int kPollsPerCheck = 128;
  debug_delay();
  std::uint64_t seen = 0;
  const std::uint64_t begin = cycles();
  waited = 0;
#pragma unroll 1
  for (int i = 0; i < kEagerPolls; ++i) {
    if (probe(seen)) {
      if (i > 0) waited = static_cast<float>(cycles() - begin);
      return true;
    }
  }
  const std::uint64_t start = global_time_ns();
  bool late = false;
  while (true) {
#pragma unroll 1
    for (int i = 0; i < kPollsPerCheck; ++i) {
      if (!probe(seen)) continue;
      waited = static_cast<float>(cycles() - begin);
      if (late) forget_missing(scope, site.peer);
      return true;
    }
    const WaitVerdict verdict = judge(scope, site, seen, start);
    late = late || verdict == WaitVerdict::is_late;
    if (verdict <= WaitVerdict::is_late) continue;
    const bool came = verdict == WaitVerdict::looks_once && probe(seen);
    if (!came) record_missing(scope, site, seen);
    waited = static_cast<float>(cycles() - begin);
    return came;
  }
}

}  // namespace railyard::device
