// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_wait_text.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <atomic>
#include <cstdint>

namespace railyard::throughput {
namespace {

std::string_view name_of(device::Operation operation) {
  switch (operation) {
    case device::Operation::route:
      return "route";
    case device::Operation::dispatch:
      return "dispatch";
    case device::Operation::routed_dispatch:
      return "routed dispatch";
    case device::Operation::combine:
      return "combine";
    default:
      return "operation";
  }
}

std::string_view name_of(device::Stage stage) {
  switch (stage) {
    case device::Stage::exchange:
      return "exchange";
    case device::Stage::arrival:
      return "arrival";
    case device::Stage::readers:
      return "readers";
    default:
      return "start";
  }
}

std::string numbers(std::uint64_t expected, std::uint64_t seen) {
  return diagnostics::format("(expected {:#x}, seen {:#x})", expected, seen);
}

// The device writes it last, after a fence.
device::Stage stage_of(device::MissingPeer& peer) {
  return std::atomic_ref(peer.stage).load(std::memory_order_acquire);
}

// Peers that the operation which failed missed besides the recorded one.
std::string list_others(device::WaitReport& report, int rank) {
  std::string others;
  for (int peer = 0; peer < device::kMaxPeers; ++peer) {
    device::MissingPeer& missing = report.missing[peer];
    if (peer == rank || peer == report.peer || stage_of(missing) == device::Stage::none) continue;
    if (missing.operation != report.operation || missing.epoch != report.epoch) continue;
    if (!others.empty()) others += ", ";
    others += diagnostics::format("rank {} {}", peer, numbers(missing.expected, missing.seen));
  }
  return others;
}

}  // namespace

std::string describe_failure(device::WaitReport& report, int rank, std::string_view abort_reason) {
  const auto code = static_cast<ErrorCode>(report.code);
  const std::string why = code == ErrorCode::timeout ? "did not arrive before the deadline"
                          : code == ErrorCode::operation_mismatch
                              ? "called something else"
                              : "was awaited when this came: " + std::string(abort_reason);
  std::string text =
      diagnostics::format("rank {}: {} epoch {}, stage {}: rank {} {} {}", rank, name_of(report.operation),
                          report.epoch, name_of(report.stage), report.peer, why, numbers(report.expected, report.seen));
  if (code == ErrorCode::operation_mismatch) return text;  // who had not come yet may be on time
  if (const std::string others = list_others(report, rank); !others.empty()) {
    text += (code == ErrorCode::timeout ? "; nor did " : "; so was ") + others;
  }
  return text;
}

}  // namespace railyard::throughput
