// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/rank_run.hpp"

#include <string>

namespace railyard::multi_rank {
namespace {

constexpr std::byte kOutPoison{0x7B};

/// Rows of `y` that must be passed: up to the last that holds a token (expert_slots: of any expert).
std::int64_t rows_in_use(const reference::Delivered& delivered, Layout layout, std::int64_t granted) {
  std::int64_t used = 0;
  for (std::size_t row = 0; row < delivered.origins.size(); ++row) {
    if (delivered.origins[row].token >= 0) {
      const auto index = static_cast<std::int64_t>(row);
      used = std::max(used, 1 + (layout == Layout::expert_slots ? index % granted : index));
    }
  }
  return used;
}

/// The first `rows` rows of each expert's slots, or of all rows.
Rows shortened(const Rows& y, Layout layout, std::int64_t granted, std::int64_t experts, std::int64_t rows) {
  Rows kept = y;
  kept.packed.clear();
  const auto row_bytes = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(y.columns) * size_of(y.dtype));
  const std::int64_t blocks = layout == Layout::expert_slots ? experts : 1;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const auto first = y.packed.begin() + block * granted * row_bytes;
    kept.packed.insert(kept.packed.end(), first, first + rows * row_bytes);
  }
  kept.rows = blocks * rows;
  return kept;
}

std::int64_t out_stride(const Scenario& scenario, const CombineCase& combine) {
  return scenario.options.hidden + combine.out_extra_stride;
}

void compare_out(const Place& place, const Scenario& scenario, const Round& round, const CombineCase& combine,
                 std::size_t rank, const reference::Bytes& expected, const Buffer& out) {
  place.require(out.guards_intact(), "bytes around the output were written");
  const std::size_t size = size_of(combine.out_dtype);
  const std::size_t row_bytes = static_cast<std::size_t>(scenario.options.hidden) * size;
  const std::size_t pitch = static_cast<std::size_t>(out_stride(scenario, combine)) * size;
  const std::vector<std::byte> got = out.download();
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::size_t row = i / pitch;
    const std::size_t byte = i % pitch;
    const bool written = byte < row_bytes && row < static_cast<std::size_t>(round.tokens[rank]);
    const std::byte wanted = written ? expected[row * row_bytes + byte] : kOutPoison;
    if (got[i] != wanted) {
      place.fail("token " + std::to_string(row) + (written ? "" : " (not to be written)") + " differs at byte " +
                 std::to_string(byte) + ": expected " + std::to_string(static_cast<int>(wanted)) + ", got " +
                 std::to_string(static_cast<int>(got[i])));
      return;
    }
  }
}

}  // namespace

void RankRun::combine(const Place& place, std::size_t index, std::size_t which, const Route& route,
                      const Dispatched& first) {
  const Round& round = scenario_.rounds[index];
  const CombineCase& combine = round.combines[which];
  const Stream stream = backend().stream(device_);
  const reference::Result& routed = (*expected_)[index].dispatched.front();
  const std::int64_t hidden = scenario_.options.hidden;
  const std::int64_t experts = group_.local_experts();
  const std::int64_t rows = combine.shortened[rank_]
                                ? rows_in_use(routed.received[rank_], round.layout, round.granted[rank_])
                                : round.granted[rank_];
  const Rows content = shortened(combine.y[rank_], round.layout, round.granted[rank_], experts, rows);
  const bool slots = round.layout == Layout::expert_slots;
  // y: the received tensor itself, another lease, or the caller's memory.
  Tensor leased;
  DeviceRows plain;
  ConstTensorView y;
  if (combine.leased) {
    const bool in_place =
        which == 0 && !round.keep && !combine.shortened[rank_] && first.rows.dtype() == combine.y_dtype;
    leased = in_place ? first.rows
             : slots  ? group_.allocate({experts, rows, hidden}, combine.y_dtype, stream)
                      : group_.allocate({rows, hidden}, combine.y_dtype, stream);
    upload(leased, content.packed);
    y = leased;
  } else if (slots) {
    plain.buffer = Buffer(device_, content.packed.size(), content.misalignment);
    plain.buffer.upload(content.packed.data(), content.packed.size());
    y = ConstTensorView(plain.buffer.data(), combine.y_dtype, {experts, rows, hidden}, device_);
  } else {
    plain = place_rows(device_, content);
    y = plain.view;
  }
  CombineOptions options;
  Buffer weights;
  const ConstTensorView ids = route.expert_ids();
  if (combine.weighting == CombineWeights::origin) {
    weights = Buffer(device_, combine.weights[rank_].size() * sizeof(float));
    weights.upload(combine.weights[rank_].data(), weights.bytes());
    options.weights = ConstTensorView(weights.data(), DType::fp32, {round.rows[rank_], round.top_k}, device_);
  } else if (combine.weighting == CombineWeights::row) {
    weights = Buffer(device_, combine.row_weights[rank_].size() * sizeof(float));
    weights.upload(combine.row_weights[rank_].data(), weights.bytes());
    options.row_weights = slots ? ConstTensorView(weights.data(), DType::fp32, {experts, round.granted[rank_]}, device_)
                                : ConstTensorView(weights.data(), DType::fp32, {round.granted[rank_]}, device_);
  } else if (combine.weighting == CombineWeights::delivered) {
    options.row_weights = first.weights;
  }
  std::vector<DeviceRows> biases;
  for (std::size_t i = 0; i < combine.biases[rank_].size(); ++i) {
    biases.push_back(place_rows(device_, combine.biases[rank_][i]));
    options.bias[i] = biases.back().view;
  }
  const std::int64_t stride = out_stride(scenario_, combine);
  const std::int64_t tokens = round.rows[rank_];
  const std::size_t out_bytes =
      tokens == 0 ? 0 : static_cast<std::size_t>((tokens - 1) * stride + hidden) * size_of(combine.out_dtype);
  const Buffer out(device_, out_bytes, combine.out_misalignment, kOutPoison);
  const TensorView out_view = TensorView::rows(out.data(), combine.out_dtype, tokens, hidden, stride, device_);
  const std::uint64_t copied_before = group_.statistics().bytes_copied;
  const Combined combined = combine.split ? group_.combine_send(y, route, out_view, options, stream).receive(stream)
                                          : group_.combine(y, route, out_view, options, stream);
  compare_status(place, routed.status, combined.status());
  compare_out(place, scenario_, round, combine, rank_, (*expected_)[index].combined[which][rank_], out);
  if (combine.leased && (combine.weighting == CombineWeights::none || combine.weighting == CombineWeights::delivered)) {
    place.equal(copied_before, group_.statistics().bytes_copied, "bytes_copied for rows that were leased");
  }
  place.require(ids.defined() != round.from_mask, "expert_ids are defined unless the route is from a mask");
}

}  // namespace railyard::multi_rank
