// SPDX-License-Identifier: Apache-2.0
// Combine on the host, both modes: every rank tells where its expert outputs are, and the origins read them in place.
#pragma once

#include "codecs/reduction.hpp"
#include "routing/route_state.hpp"
#include "transports/combine_request.hpp"
#include "transports/peer_exchange.hpp"

#include <railyard/combine.hpp>
#include <railyard/group.hpp>
#include <railyard/route.hpp>
#include <railyard/tensor.hpp>

#include <cstdint>
#include <span>
#include <vector>

namespace railyard::throughput {

/// One combine from its send part to its receive part.
struct CombineOperation {
  transports::CombineRequest request;
  transports::Turn turn;
  transports::Descriptor descriptor;
  Lease y_copy;        // of a `y` outside the heap
  Lease weights_copy;  // of `row_weights` outside the heap
};

struct CombineBytes {
  std::uint64_t wire = 0;    // read from other ranks
  std::uint64_t copied = 0;  // into the heap
};

/// Order: outputs -> notice (pair: mailbox.epoch) -> peers read -> received signals -> the outputs are free again.
class HostCombine {
 public:
  HostCombine(const GroupOptions& options, transports::PeerExchange& exchange);

  /// Waits for nothing of its own epoch.
  CombineBytes send(CombineOperation& operation);
  CombineBytes receive(CombineOperation& operation, Combined& result);

 private:
  // What one rank offers to read.
  struct Source {
    const std::byte* rows = nullptr;
    std::size_t row_pitch = 0;
    const float* weights = nullptr;
    bool exhausted = false;
  };

  [[nodiscard]] bool in_heap(const ConstTensorView& view) const noexcept;
  void offer_y(CombineOperation& operation, transports::Notice& notice, CombineBytes& bytes);
  void offer_weights(CombineOperation& operation, transports::Notice& notice, CombineBytes& bytes);
  [[nodiscard]] Status find_sources(const CombineOperation& operation);
  [[nodiscard]] const float* start_value(const CombineOperation& operation, std::int64_t token);
  /// Returns the rows read from other ranks.
  std::uint64_t reduce_token(const CombineOperation& operation, std::int64_t token);
  /// Replaces `rows_` by one rounded partial per rank; returns how many.
  std::size_t sum_partials(std::span<const routing::Transfer> transfers, bool weighted);
  void write_nan(const TensorView& out, std::int64_t token) const;

  const GroupOptions& options_;
  transports::PeerExchange& exchange_;
  int hidden_;
  DType y_dtype_ = DType::bf16;
  codecs::SumRows sum_partial_ = nullptr;
  codecs::SumRows sum_out_ = nullptr;
  std::vector<Source> sources_;
  std::vector<float> start_;
  std::vector<const void*> rows_;
  std::vector<float> weights_;
  std::vector<std::byte> partials_;  // [top_k, hidden] of y's dtype
};

}  // namespace railyard::throughput
