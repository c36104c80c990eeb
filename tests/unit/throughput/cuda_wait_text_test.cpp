// SPDX-License-Identifier: Apache-2.0
// What the host says of a report that a kernel might have left.
#include "throughput/cuda_wait_text.hpp"

#include "throughput/cuda_descriptor.hpp"

#include <railyard/error.hpp>

#include <gtest/gtest.h>

#include <cstdint>

namespace railyard::throughput {
namespace {

device::WaitReport report_of(ErrorCode code, device::Stage stage = device::Stage::exchange) {
  device::WaitReport report;
  report.code = static_cast<std::uint32_t>(code);
  report.operation = device::Operation::dispatch;
  report.stage = stage;
  report.peer = 2;
  report.epoch = 5;
  report.expected = 5;
  report.seen = 4;
  return report;
}

void miss(device::WaitReport& report, int peer, std::uint64_t seen) {
  report.missing[peer] = {.stage = report.stage,
                          .operation = report.operation,
                          .epoch = report.epoch,
                          .expected = report.expected,
                          .seen = seen};
}

TEST(CudaWaitText, ATimeoutNamesOnePeer) {
  device::WaitReport report = report_of(ErrorCode::timeout);
  const char* const expected =
      "rank 0: dispatch epoch 5, stage exchange: rank 2 did not arrive before the deadline (expected 0x5, seen 0x4)";
  EXPECT_EQ(describe_failure(report, 0, ""), expected);
  miss(report, 2, 4);  // the same
  miss(report, 0, 4);  // blocks of its own
  EXPECT_EQ(describe_failure(report, 0, ""), expected);
}

TEST(CudaWaitText, ATimeoutNamesEveryoneElseWhoIsMissing) {
  device::WaitReport report = report_of(ErrorCode::timeout);
  for (const int peer : {63, 2, 1}) miss(report, peer, 3);
  EXPECT_EQ(describe_failure(report, 0, ""),
            "rank 0: dispatch epoch 5, stage exchange: rank 2 did not arrive before the deadline (expected 0x5, seen "
            "0x4); nor did rank 1 (expected 0x5, seen 0x3), rank 63 (expected 0x5, seen 0x3)");
}

TEST(CudaWaitText, PeersOfOtherOperationsAreNotMissing) {
  device::WaitReport report = report_of(ErrorCode::timeout, device::Stage::arrival);
  for (const int peer : {1, 3, 4}) miss(report, peer, 3);
  report.missing[1].epoch = 4;
  report.missing[3].operation = device::Operation::combine;
  EXPECT_EQ(describe_failure(report, 0, ""),
            "rank 0: dispatch epoch 5, stage arrival: rank 2 did not arrive before the deadline (expected 0x5, seen "
            "0x4); nor did rank 4 (expected 0x5, seen 0x3)");
}

TEST(CudaWaitText, AbortsSayWhyAndWhoWasAwaited) {
  device::WaitReport report = report_of(ErrorCode::aborted);
  miss(report, 3, 4);
  EXPECT_EQ(describe_failure(report, 1, "no more"),
            "rank 1: dispatch epoch 5, stage exchange: rank 2 was awaited when this came: no more (expected 0x5, seen "
            "0x4); so was rank 3 (expected 0x5, seen 0x4)");
}

TEST(CudaWaitText, AMismatchNamesWhoCalledSomethingElse) {
  device::WaitReport report = report_of(ErrorCode::operation_mismatch);
  transports::Descriptor call{.operation = transports::Operation::dispatch, .top_k = 8};
  report.expected = pack(call);
  call.top_k = 4;
  report.seen = pack(call);
  miss(report, 3, 4);
  EXPECT_EQ(describe_failure(report, 1, ""),
            "rank 1: dispatch epoch 5, stage exchange: rank 2 called something else: "
            "dispatch(top_k=8, row_dtype=bf16, scales=none, weights=no, route #0) here, "
            "dispatch(top_k=4, row_dtype=bf16, scales=none, weights=no, route #0) there");
}

TEST(CudaWaitText, AnOverlapSaysWhatMustBeOrdered) {
  device::WaitReport report = report_of(ErrorCode::in_flight, device::Stage::none);
  EXPECT_EQ(describe_failure(report, 1, ""),
            "rank 1: dispatch epoch 5: it began while another of its kind was running: replays of graphs, and calls "
            "beside them, must be ordered, by one stream or by events");
}

}  // namespace
}  // namespace railyard::throughput
