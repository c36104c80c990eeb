// SPDX-License-Identifier: Apache-2.0
// Decode with two micro-batches: while the rows of one travel, the rank works on the other. Operations are issued in
// the same order on all ranks, and received in the order in which they were sent.
#include <railyard/exchange.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <vector>

namespace {

constexpr int kRanks = 4;
constexpr int kTokens = 32;
constexpr int kHidden = 128;
constexpr int kExperts = 8;
constexpr int kTopK = 2;

using railyard::ConstTensorView;
using railyard::DType;
using railyard::TensorView;

struct MicroBatch {
  std::vector<float> x = std::vector<float>(kTokens * kHidden);
  std::vector<float> out = std::vector<float>(kTokens * kHidden);
  std::vector<float> weights = std::vector<float>(kTokens * kTopK, 1.0F);
  std::vector<std::int32_t> ids = std::vector<std::int32_t>(kTokens * kTopK);
  std::optional<railyard::PendingDispatch> dispatching;
  std::optional<railyard::PendingCombine> combining;
  railyard::Dispatched received;
  railyard::Tensor y;
};

/// Stands for attention: gives every token a value, and chooses its experts.
void compute_attention(MicroBatch& batch, int number, int rank) {
  for (int token = 0; token < kTokens; ++token) {
    for (int column = 0; column < kHidden; ++column) {
      batch.x[static_cast<std::size_t>(token * kHidden + column)] =
          static_cast<float>(number * 100 + rank * 10 + token);
    }
    batch.ids[static_cast<std::size_t>(token * kTopK)] = token % kExperts;
    batch.ids[static_cast<std::size_t>(token * kTopK + 1)] = (token + 1 + number) % kExperts;
  }
}

void send_tokens(railyard::Group& group, MicroBatch& batch) {
  batch.dispatching.emplace(
      group.dispatch_send(ConstTensorView(batch.x.data(), DType::fp32, {kTokens, kHidden}),
                          ConstTensorView(batch.ids.data(), DType::int32, {kTokens, kTopK}),
                          {.weights = ConstTensorView(batch.weights.data(), DType::fp32, {kTokens, kTopK}),
                           .layout = railyard::Layout::expert_slots}));
}

/// Receives the tokens, doubles them, and sends the results back.
void run_experts(railyard::Group& group, MicroBatch& batch) {
  batch.received = batch.dispatching->receive();
  batch.received.check();
  const railyard::Tensor& rows = batch.received.rows;
  batch.y = group.allocate({rows.size(0), rows.size(1), kHidden}, DType::fp32);
  const auto counts = batch.received.route.expert_counts().as<std::int32_t>();
  for (std::size_t expert = 0; expert < counts.size(); ++expert) {
    const std::size_t first = expert * static_cast<std::size_t>(rows.size(1) * kHidden);
    for (std::size_t i = first; i < first + static_cast<std::size_t>(counts[expert] * kHidden); ++i) {
      batch.y.as<float>()[i] = 2.0F * rows.as<float>()[i];
    }
  }
  batch.combining.emplace(group.combine_send(batch.y, batch.received.route,
                                             TensorView(batch.out.data(), DType::fp32, {kTokens, kHidden}),
                                             {.row_weights = batch.received.weights}));
}

void run_rank(railyard::Rank& rank) {
  railyard::Group group(rank, {.num_experts = kExperts,
                               .max_top_k = kTopK,
                               .max_tokens = kTokens,
                               .hidden = kHidden,
                               .mode = railyard::Mode::low_latency,
                               .row_dtype = DType::fp32,
                               .max_in_flight = 2,
                               .heap_bytes = std::size_t{32} << 20U});
  std::array<MicroBatch, 2> batches;
  compute_attention(batches[0], 0, rank.index());
  send_tokens(group, batches[0]);
  compute_attention(batches[1], 1, rank.index());  // while the first batch travels
  send_tokens(group, batches[1]);
  run_experts(group, batches[0]);  // while the second batch travels
  run_experts(group, batches[1]);
  for (MicroBatch& batch : batches) {
    batch.combining->receive().check();
    for (std::size_t i = 0; i < batch.out.size(); ++i) {
      if (batch.out[i] != 2.0F * kTopK * batch.x[i]) {
        throw std::runtime_error("a token came back wrong");
      }
    }
  }
}

}  // namespace

int main() {
  railyard::World::threads(kRanks).run(run_rank);
  std::puts("two micro-batches overlapped, and both came back right");
}
