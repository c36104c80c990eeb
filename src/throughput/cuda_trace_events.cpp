// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_trace_events.hpp"

#include "transports/descriptor.hpp"

#include <algorithm>
#include <cstdint>

namespace railyard::throughput {
namespace {

enum Row : std::uint8_t { kKernel, kExchange, kWrite, kArrival, kPull, kReaders };

std::string_view name_of(device::Operation operation) noexcept {
  switch (operation) {
    case device::Operation::route:
      return transports::name(transports::Operation::route);
    case device::Operation::dispatch:
      return transports::name(transports::Operation::dispatch);
    case device::Operation::routed_dispatch:
      return transports::name(transports::Operation::routed_dispatch);
    case device::Operation::combine:
      return transports::name(transports::Operation::combine);
    default:
      return "operation";
  }
}

class Events {
 public:
  explicit Events(const CudaTraceRecord& record) noexcept : record_(record), name_(name_of(record.operation)) {}

  // Stamps come from clocks that step: none is outside of what it is part of.
  void add(Row row, std::uint64_t begin, std::uint64_t end) noexcept {
    begin = std::clamp(begin, record_.entry_ns, std::max(record_.entry_ns, record_.end_ns));
    end = std::clamp(end, begin, std::max(begin, record_.end_ns));
    list_.events[list_.size++] = {.name = name_,
                                  .begin_ns = static_cast<std::int64_t>(begin),
                                  .end_ns = static_cast<std::int64_t>(end),
                                  .epoch = record_.epoch,
                                  .row = row};
  }
  // A wait at the end of the stage that was added last, or at its begin.
  void add_wait(const CudaTracedWait& wait, bool at_end) noexcept {
    if (wait.missing == 0) return;
    diagnostics::TraceEvent event = list_.events[list_.size - 1];
    const auto length =
        static_cast<std::int64_t>(std::min(wait.waited_ns, static_cast<std::uint64_t>(event.end_ns - event.begin_ns)));
    if (at_end) {
      event.begin_ns = event.end_ns - length;
    } else {
      event.end_ns = event.begin_ns + length;
    }
    event.peer = wait.last_peer;
    event.missing = wait.missing;
    list_.events[list_.size++] = event;
  }
  [[nodiscard]] const CudaTraceEvents& list() const noexcept { return list_; }

 private:
  const CudaTraceRecord& record_;
  std::string_view name_;
  CudaTraceEvents list_;
};

}  // namespace

std::span<const std::string_view> cuda_trace_rows() noexcept {
  static constexpr std::array<std::string_view, 6> kRows{"kernel", "exchange", "write", "arrival", "pull", "readers"};
  static_assert(kRows.size() == kReaders + 1);
  return kRows;
}

CudaTraceEvents events_of(const CudaTraceRecord& record) noexcept {
  const bool combines = record.operation == device::Operation::combine;
  Events events(record);
  events.add(kKernel, record.entry_ns, record.end_ns);
  const bool exchanged = record.exchanged_ns > 0;
  events.add(kExchange, record.entry_ns, exchanged ? record.exchanged_ns : record.end_ns);
  events.add_wait(record.exchange, true);
  if (!exchanged) return events.list();
  const bool moved = record.moved_ns > 0;
  events.add(combines ? kPull : kWrite, record.exchanged_ns, moved ? record.moved_ns : record.end_ns);
  if (!moved) return events.list();
  events.add(combines ? kReaders : kArrival, record.moved_ns, record.end_ns);
  events.add_wait(record.last, false);
  return events.list();
}

}  // namespace railyard::throughput
