// SPDX-License-Identifier: Apache-2.0
// Dispatch on the host, low-latency mode: a send part waits for nothing of its own epoch.
#pragma once

#include "low_latency/wire_layout.hpp"
#include "transports/dispatch_operation.hpp"
#include "transports/row_writer.hpp"

#include <cstdint>
#include <vector>

namespace railyard::low_latency {

/// Order: slot granted by epoch e - N (pair: received) -> rows into wire slots -> fence -> arrival signals, notice;
/// receive: notices, arrival signals -> rows to their places in the lease -> received signals.
/// A token crosses once per destination rank; the receiver copies it to the rows of its entries. This rank's own rows
/// cross too where the receive part comes by itself, since the caller's may have changed by then, and where rows are
/// encoded, which is done once.
class HostDispatch {
 public:
  /// Leases the wire slots: the second block of the heap, at the same offset on every rank.
  HostDispatch(const GroupOptions& options, transports::DispatchSteps& steps, transports::PeerExchange& exchange);

  /// Returns the bytes of rows and scales written to other ranks.
  std::uint64_t send(transports::DispatchOperation& operation);
  [[nodiscard]] Dispatched receive(transports::DispatchOperation& operation);

 private:
  std::uint64_t write_slots(const transports::DispatchOperation& operation);
  void fill_targets(const transports::DispatchOperation& operation, std::int64_t token, int rank,
                    std::int32_t* targets) const;
  void place_rows(const transports::DispatchOperation& operation);
  void place_slot(const transports::DispatchOperation& operation, int source, std::byte* slot);
  /// Whether rows of this rank and `rank` go through wire slots; else they come from the caller's.
  [[nodiscard]] bool crosses(const transports::DispatchOperation& operation, int rank) const;
  /// The first so many of rows_ and scales_.
  [[nodiscard]] transports::RowPlaces places(std::size_t count) const;
  [[nodiscard]] std::int64_t next_row(const routing::RouteState& state, std::int32_t local_expert);
  [[nodiscard]] static const std::int32_t* known_ids(const routing::RouteState& state, std::int64_t row);

  transports::DispatchSteps& steps_;
  transports::PeerExchange& exchange_;
  WireLayout layout_;
  Lease wire_;
  transports::RowWriter writer_;
  std::vector<std::int64_t> ordinals_;  // [ranks] tokens sent to each so far
  std::vector<std::int64_t> next_row_;  // [local experts], or one in rank_major
  std::vector<void*> rows_, scales_;    // destinations of one token
};

}  // namespace railyard::low_latency
