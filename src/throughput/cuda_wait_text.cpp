// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_wait_text.hpp"

#include "diagnostics/format.hpp"
#include "throughput/cuda_descriptor.hpp"

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
bool is_missing(device::MissingPeer& peer) {
  return std::atomic_ref(peer.stage).load(std::memory_order_acquire) != device::Stage::none;
}

// Peers that one operation of `rank` misses, without `named`.
std::string list_missing(device::WaitReport& report, device::Operation operation, std::uint64_t epoch, int rank,
                         int named) {
  std::string peers;
  for (int peer = 0; peer < device::kMaxPeers; ++peer) {
    device::MissingPeer& missing = report.missing[peer];
    if (peer == rank || peer == named || !is_missing(missing)) continue;
    if (missing.operation != operation || missing.epoch != epoch) continue;
    if (!peers.empty()) peers += ", ";
    peers += diagnostics::format("rank {} {}", peer, numbers(missing.expected, missing.seen));
  }
  return peers;
}

}  // namespace

std::string describe_failure(device::WaitReport& report, int rank, std::string_view abort_reason) {
  const auto code = static_cast<ErrorCode>(report.code);
  const std::string what = diagnostics::format("rank {}: {} epoch {}", rank, name_of(report.operation), report.epoch);
  if (code == ErrorCode::in_flight) {
    return what +
           ": it began while another of its kind was running: replays of graphs, and calls beside them, must be "
           "ordered, by one stream or by events";
  }
  std::string text = diagnostics::format("{}, stage {}: rank {} ", what, name_of(report.stage), report.peer);
  if (code == ErrorCode::operation_mismatch) {  // who had not come yet may be on time
    return text + diagnostics::format("called something else: {} here, {} there",
                                      describe_packed(static_cast<std::uint32_t>(report.expected)),
                                      describe_packed(static_cast<std::uint32_t>(report.seen)));
  }
  text += code == ErrorCode::timeout ? "did not arrive before the deadline"
                                     : "was awaited when this came: " + std::string(abort_reason);
  text += ' ' + numbers(report.expected, report.seen);
  const std::string others = list_missing(report, report.operation, report.epoch, rank, report.peer);
  if (!others.empty()) text += (code == ErrorCode::timeout ? "; nor did " : "; so was ") + others;
  return text;
}

std::optional<CudaLateOperation> find_late_operation(device::WaitReport& report, int rank) {
  if (std::atomic_ref(report.code).load(std::memory_order_acquire) != 0) return {};
  for (int peer = 0; peer < device::kMaxPeers; ++peer) {
    device::MissingPeer& first = report.missing[peer];
    if (peer == rank || !is_missing(first)) continue;
    CudaLateOperation late{.operation = first.operation, .epoch = first.epoch, .place = {}, .peers = {}};
    late.place =
        diagnostics::format("{}, stage {}, epoch {}", name_of(first.operation), name_of(first.stage), first.epoch);
    late.peers = list_missing(report, late.operation, late.epoch, rank, rank);
    if (late.peers.empty()) return {};  // it came this instant
    return late;
  }
  return {};
}

}  // namespace railyard::throughput
