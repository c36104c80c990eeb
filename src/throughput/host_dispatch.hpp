// SPDX-License-Identifier: Apache-2.0
// Dispatch on the host, throughput mode: rows are written once, at their final place in the receiver's lease.
#pragma once

#include "transports/dispatch_operation.hpp"
#include "transports/row_writer.hpp"

#include <cstdint>
#include <vector>

namespace railyard::throughput {

/// Order: counts and grants (start barrier) -> rows and metadata -> fence -> arrival signals; receive: arrival signals
/// -> padding and counts -> received signals.
class HostDispatch {
 public:
  HostDispatch(transports::DispatchSteps& steps, transports::PeerExchange& exchange)
      : steps_(steps), exchange_(exchange) {}

  /// Waits for this epoch's counts and grants. Returns the bytes of rows and scales written to other ranks.
  std::uint64_t send(transports::DispatchOperation& operation);
  [[nodiscard]] Dispatched receive(transports::DispatchOperation& operation);

 private:
  std::uint64_t write_rows(const transports::DispatchOperation& operation);

  transports::DispatchSteps& steps_;
  transports::PeerExchange& exchange_;
  transports::RowWriter writer_;
  std::vector<void*> cached_, streamed_, scales_;  // of one token: places of its rows, and of their scales
};

}  // namespace railyard::throughput
