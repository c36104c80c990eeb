// SPDX-License-Identifier: Apache-2.0
// What every dispatch does whichever way its rows move: count and grant, exchange, agree on rows, finish what arrived.
#pragma once

#include "routing/block_layout.hpp"
#include "routing/resolve.hpp"
#include "routing/route_state.hpp"
#include "transports/peer_exchange.hpp"

#include <railyard/dispatch.hpp>
#include <railyard/group.hpp>
#include <railyard/placement.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace railyard::transports {

/// A validated call.
struct DispatchRequest {
  Operation operation = Operation::dispatch;
  ConstTensorView x = {};        // undefined for a route alone
  ConstTensorView targets = {};  // ids or mask of a new route
  ConstTensorView weights = {};
  ConstTensorView scales = {};
  std::optional<Codec> codec = {};
  Tail tail = Tail::untouched;
  Layout layout = Layout::rank_major;
  int alignment = 1;
  std::int64_t capacity = 0;                      // 0: the default
  std::int64_t num_tokens = 0;                    // on a GPU with a word: the most
  const std::int32_t* num_tokens_word = nullptr;  // in device memory; null on the host, where it has been read
  TensorView expert_load = {};
  Route route = {};    // of a routed dispatch
  bool whole = false;  // the receive part follows at once: the caller's tensors are still there

  [[nodiscard]] bool makes_route() const noexcept { return operation != Operation::routed_dispatch; }
  [[nodiscard]] bool sends_rows() const noexcept { return x.defined(); }
};

/// Where one destination wants this operation's rows.
struct Grant {
  std::byte* payload = nullptr;   // null: no rows are written there
  std::byte* metadata = nullptr;  // null: nor metadata
  routing::PayloadLayout payload_layout;
  routing::MetadataLayout metadata_layout;
};

/// One dispatch from its send part to its receive part. Reused: its vectors keep their memory.
struct DispatchOperation {
  DispatchRequest request;
  Turn turn;
  Descriptor descriptor;
  routing::RowShape shape;
  int ids_per_row = 0;
  Route route;
  Lease payload;
  Lease metadata;
  std::vector<Grant> grants;   // [ranks]
  bool needs_recount = false;  // Resolver::needs_recount
  Status status;
};

/// The steps, in order: prepare, start, agree, (rows move), finish. One per group; used by the rank's thread.
class DispatchSteps {
 public:
  /// `compare_all`: RAILYARD_DEBUG=1. Routes are numbered from `first_route`, the same on all ranks.
  DispatchSteps(const GroupOptions& options, const Placement& placement, PeerExchange& exchange,
                std::shared_ptr<routing::RoutePool> routes, bool compare_all, std::uint64_t first_route = 1);

  /// Local: scans the ids, leases the blocks to be granted. Never throws for a full heap: that is the notice's to say.
  void prepare(DispatchRequest&& request, DispatchOperation& operation);
  /// Takes the epoch and waits until its slot may be written.
  void start(DispatchOperation& operation);
  /// Tells everyone counts and grant.
  void publish(const DispatchOperation& operation);
  /// Waits for everyone's, and computes route, grants and status.
  void agree(DispatchOperation& operation);
  /// Once all rows are in place: padding, tail, counts. Ends the operation.
  [[nodiscard]] Dispatched finish(DispatchOperation& operation);

  /// Above every route's of this rank.
  [[nodiscard]] std::uint64_t next_route() const noexcept { return next_route_; }
  [[nodiscard]] const Placement& placement() const noexcept { return placement_; }

 private:
  void lease_blocks(DispatchOperation& operation);
  void adopt_route(DispatchOperation& operation);
  void find_grants(DispatchOperation& operation);
  void report_exhausted_payload(DispatchOperation& operation);
  void fill_unused_rows(const DispatchOperation& operation) const;
  void fill_rows(const DispatchOperation& operation, std::int64_t begin, std::int64_t end, Tail payload) const;
  [[nodiscard]] Dispatched result_of(const DispatchOperation& operation) const;

  const GroupOptions& options_;
  const Placement& placement_;
  PeerExchange& exchange_;
  std::shared_ptr<routing::RoutePool> routes_;
  routing::Resolver resolver_;
  std::vector<routing::SourceCounts> sources_;
  Notice notice_;
  bool compare_all_;
  std::uint64_t next_route_;
  std::vector<bool> takes_part_;  // [ranks]; empty: all do
};

}  // namespace railyard::transports
