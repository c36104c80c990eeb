// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_trace_events.hpp"
#include "diagnostics/format.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace railyard::throughput {
namespace {

CudaTraceRecord dispatch() {
  CudaTraceRecord record;
  record.sequence = 1;
  record.epoch = 12;
  record.entry_ns = 1000;
  record.exchanged_ns = 3000;
  record.moved_ns = 7000;
  record.end_ns = 8000;
  record.operation = device::Operation::dispatch;
  return record;
}

// "row name [begin, end]", waits "row wait for peer of missing [begin, end]".
std::vector<std::string> described(const CudaTraceRecord& record) {
  const CudaTraceEvents list = events_of(record);
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < list.size; ++i) {
    const diagnostics::TraceEvent& event = list.events[i];
    EXPECT_EQ(event.epoch, record.epoch);
    const std::string what =
        event.peer < 0 ? std::string(event.name) : diagnostics::format("wait for {} of {}", event.peer, event.missing);
    texts.push_back(
        diagnostics::format("{} {} [{}, {}]", cuda_trace_rows()[event.row], what, event.begin_ns, event.end_ns));
  }
  return texts;
}

using Texts = std::vector<std::string>;

TEST(CudaTraceEvents, ADispatchHasItsStages) {
  EXPECT_EQ(described(dispatch()), (Texts{"kernel dispatch [1000, 8000]", "exchange dispatch [1000, 3000]",
                                          "write dispatch [3000, 7000]", "arrival dispatch [7000, 8000]"}));
}

TEST(CudaTraceEvents, ACombinePullsAndWaitsForReaders) {
  CudaTraceRecord record = dispatch();
  record.operation = device::Operation::combine;
  record.exchange = {.waited_ns = 1500, .last_peer = 3, .missing = 2};
  record.last = {.waited_ns = 400, .last_peer = 0, .missing = 1};
  EXPECT_EQ(described(record), (Texts{"kernel combine [1000, 8000]", "exchange combine [1000, 3000]",
                                      "exchange wait for 3 of 2 [1500, 3000]", "pull combine [3000, 7000]",
                                      "readers combine [7000, 8000]", "readers wait for 0 of 1 [7000, 7400]"}));
}

TEST(CudaTraceEvents, WhatWasNotReachedIsLeftOut) {
  CudaTraceRecord record = dispatch();
  record.operation = device::Operation::routed_dispatch;
  record.failed = 1;
  record.moved_ns = 0;
  EXPECT_EQ(described(record),
            (Texts{"kernel dispatch along a route [1000, 8000]", "exchange dispatch along a route [1000, 3000]",
                   "write dispatch along a route [3000, 8000]"}));
  record.exchanged_ns = 0;
  record.operation = device::Operation::route;
  record.exchange = {.waited_ns = 6900, .last_peer = 1, .missing = 1};
  EXPECT_EQ(described(record), (Texts{"kernel route [1000, 8000]", "exchange route [1000, 8000]",
                                      "exchange wait for 1 of 1 [1100, 8000]"}));
}

// Clocks that step may say that something ended before it began, or waits that were longer than their stage.
TEST(CudaTraceEvents, NothingIsOutsideOfWhatItIsPartOf) {
  CudaTraceRecord record = dispatch();
  record.exchanged_ns = 8200;
  record.moved_ns = 6000;
  record.exchange = {.waited_ns = 9000, .last_peer = 1, .missing = 1};
  record.last = {.waited_ns = 9000, .last_peer = 2, .missing = 1};
  EXPECT_EQ(described(record), (Texts{"kernel dispatch [1000, 8000]", "exchange dispatch [1000, 8000]",
                                      "exchange wait for 1 of 1 [1000, 8000]", "write dispatch [8000, 8000]",
                                      "arrival dispatch [6000, 8000]", "arrival wait for 2 of 1 [6000, 8000]"}));
  record.end_ns = 900;
  for (const std::string& text : described(record)) EXPECT_NE(text.find("[1000, 1000]"), std::string::npos) << text;
}

}  // namespace
}  // namespace railyard::throughput
