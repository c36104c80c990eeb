// SPDX-License-Identifier: Apache-2.0
#include "throughput/host_dispatch.hpp"

#include "codecs/copy.hpp"

#include <array>

namespace railyard::throughput {

using transports::DispatchOperation;
using transports::Grant;
using transports::Stage;

std::uint64_t HostDispatch::send(DispatchOperation& operation) {
  steps_.start(operation);
  steps_.publish(operation);
  steps_.agree(operation);
  exchange_.enter(Stage::write, operation.turn);
  const std::uint64_t wire_bytes = write_rows(operation);
  codecs::store_fence();  // rows were stored past the caches
  exchange_.signal_arrival(operation.turn);
  return wire_bytes;
}

Dispatched HostDispatch::receive(DispatchOperation& operation) {
  exchange_.wait_arrivals(operation.turn);
  return steps_.finish(operation);
}

std::uint64_t HostDispatch::write_rows(const DispatchOperation& operation) {
  // As many destinations at once as a read of the row may serve.
  constexpr int kMaxBatch = 64;
  std::array<void*, kMaxBatch> rows{};
  std::array<void*, kMaxBatch> scales{};
  std::array<std::int32_t, 32> local_ids{};
  const transports::DispatchRequest& call = operation.request;
  const routing::RouteState& state = *operation.route.state();
  const routing::RowShape& shape = operation.shape;
  const bool sends_rows = call.sends_rows();
  const auto* weights = static_cast<const float*>(call.weights.data());
  if (sends_rows) writer_.begin(operation, codecs::Stores::streaming);
  std::uint64_t remote_rows = 0;
  for (std::int64_t token = 0; token < state.num_tokens(); ++token) {
    int batch = 0;
    for (const routing::Transfer& transfer : state.of_token(token)) {
      if (transfer.row == routing::kLostRow) continue;
      const Grant& grant = operation.grants[static_cast<std::size_t>(transfer.rank)];
      const bool needs_ids = !state.from_mask() && (grant.metadata || call.weights.defined());
      if (needs_ids) state.entries.local_ids(token, steps_.placement(), transfer.rank, local_ids.data());
      const transports::PlacedRow placed{
          .grant = &grant,
          .row = transfer.row,
          .origin = {static_cast<std::int32_t>(token), static_cast<std::int16_t>(exchange_.rank()), transfer.k},
          .local_ids = local_ids.data()};
      if (grant.metadata) transports::write_metadata(operation, placed);
      if (!grant.payload) continue;
      if (call.weights.defined()) transports::write_weights(operation, placed, weights + token * state.width());
      const auto row = static_cast<std::size_t>(transfer.row);
      rows[static_cast<std::size_t>(batch)] = grant.payload + grant.payload_layout.rows_offset + row * shape.row_pitch;
      scales[static_cast<std::size_t>(batch)] =
          grant.payload + grant.payload_layout.scales_offset + row * shape.scale_pitch;
      remote_rows += transfer.rank != exchange_.rank();
      if (++batch == kMaxBatch) {
        writer_.write(token, rows.data(), scales.data(), batch);
        batch = 0;
      }
    }
    if (batch > 0) writer_.write(token, rows.data(), scales.data(), batch);
  }
  return remote_rows * (shape.row_bytes + shape.scale_bytes);
}

}  // namespace railyard::throughput
