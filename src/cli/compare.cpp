// SPDX-License-Identifier: Apache-2.0
#include "cli/compare.hpp"

#include "cli/rows.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

namespace railyard::cli {
namespace {

template <typename Value>
bool same_values(const ConstTensorView& view, const std::vector<Value>& expected) {
  const auto values = view.as<Value>();
  return std::equal(values.begin(), values.end(), expected.begin(), expected.end());
}

bool same_bytes(const std::byte* left, const std::byte* right, std::size_t bytes) {
  return bytes == 0 || std::memcmp(left, right, bytes) == 0;
}

/// The name of the first part of a flat row that differs, empty if none does.
std::string_view different_part(const Delivery& received, const reference::Delivered& expected, std::int64_t row) {
  const auto index = static_cast<std::size_t>(row);
  const auto origin = std::bit_cast<Origin>(received.origins.as<std::int64_t>()[index]);
  const reference::Origin& expected_origin = expected.origins[index];
  if (origin.token != expected_origin.token || origin.rank != expected_origin.rank || origin.k != expected_origin.k) {
    return "origin";
  }
  if (expected.payload_written[index]) {
    if (!same_bytes(flat_row(received.rows, row), expected.rows.data() + index * expected.row_bytes,
                    expected.row_bytes)) {
      return "payload";
    }
    if (expected.scale_bytes > 0 &&
        !same_bytes(flat_row(received.scales, row), expected.scales.data() + index * expected.scale_bytes,
                    expected.scale_bytes)) {
      return "scales";
    }
  }
  const std::size_t columns = expected.expert_ids.size() / expected.origins.size();
  const std::size_t first = index * columns;
  const auto ids = received.expert_ids.as<std::int32_t>();
  if (!std::equal(ids.begin() + static_cast<std::ptrdiff_t>(first),
                  ids.begin() + static_cast<std::ptrdiff_t>(first + columns),
                  expected.expert_ids.begin() + static_cast<std::ptrdiff_t>(first))) {
    return "expert ids";
  }
  if (!expected.weights.empty() &&
      !same_bytes(reinterpret_cast<const std::byte*>(received.weights.as<float>().data() + first),
                  reinterpret_cast<const std::byte*>(expected.weights.data() + first), columns * sizeof(float))) {
    return "weights";
  }
  return "";
}

}  // namespace

Delivery Delivery::of(const Dispatched& received) {
  return {.rows = received.rows,
          .scales = received.scales,
          .weights = received.weights,
          .expert_ids = received.route.expert_ids(),
          .origins = received.route.origins(),
          .route = received.route};
}

void Comparison::add(const Comparison& other) {
  if (different == 0) {
    first_difference = other.first_difference;
  }
  compared += other.compared;
  different += other.different;
}

Comparison compare_dispatch(int rank, const Delivery& received, const reference::Delivered& expected) {
  Comparison result;
  const auto rows = static_cast<std::int64_t>(expected.origins.size());
  const std::int64_t received_rows = num_flat_rows(received.origins, false);
  const bool shapes = received_rows == rows && num_flat_rows(received.rows) == rows &&
                      received.scales.defined() == (expected.scale_bytes > 0) &&
                      (rows == 0 || received.weights.defined() == !expected.weights.empty());
  result.count(shapes, [&] {
    return diagnostics::format("rank {} received {} rows, and the reference has {}", rank, received_rows, rows);
  });
  if (!shapes) {
    return result;
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::string_view part = different_part(received, expected, row);
    result.count(part.empty(), [&] { return diagnostics::format("the {} of row {} at rank {}", part, row, rank); });
  }
  const auto count = [&](bool same, std::string_view what) {
    result.count(same, [&] { return diagnostics::format("the {} of rank {}", what, rank); });
  };
  count(received.route.num_rows() == expected.num_rows, "number of rows");
  count(same_values(received.route.receive_counts(), expected.receive_counts), "counts by source");
  count(same_values(received.route.expert_counts(), expected.expert_counts), "counts by expert");
  count(same_values(received.route.expert_offsets(), expected.expert_offsets), "expert offsets");
  return result;
}

Comparison compare_output(int rank, std::span<const std::byte> output, std::span<const std::byte> expected,
                          std::size_t row_bytes) {
  Comparison result;
  result.count(output.size() == expected.size(), [&] {
    return diagnostics::format("rank {} has {} bytes of output, and {} are expected", rank, output.size(),
                               expected.size());
  });
  if (!result.equal()) {
    return result;
  }
  for (std::size_t first = 0; first < output.size(); first += row_bytes) {
    result.count(same_bytes(output.data() + first, expected.data() + first, row_bytes),
                 [&] { return diagnostics::format("token {} of rank {}", first / row_bytes, rank); });
  }
  return result;
}

}  // namespace railyard::cli
