// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/compare.hpp"

#include "multi_rank/backend.hpp"

#include <cstring>
#include <string>

namespace railyard::multi_rank {
namespace {

template <typename T>
void compare_values(const Place& place, const std::vector<T>& expected, const ConstTensorView& view,
                    const std::string& what) {
  const std::vector<T> got = download_as<T>(view);
  if (got.size() != expected.size()) {
    place.fail(what + ": expected " + std::to_string(expected.size()) + " values, got " + std::to_string(got.size()));
    return;
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &expected[i], sizeof(T)) != 0) {
      std::string text = what + "[" + std::to_string(i) + "] differs";
      if constexpr (std::is_arithmetic_v<T>) {
        text += ": expected " + std::to_string(expected[i]) + ", got " + std::to_string(got[i]);
      } else if constexpr (std::is_same_v<T, reference::Origin>) {
        const auto show = [](const T& o) {
          return std::to_string(o.token) + "/" + std::to_string(o.rank) + "/" + std::to_string(o.k);
        };
        text += ": expected " + show(expected[i]) + ", got " + show(got[i]);
      }
      place.fail(text);
      return;
    }
  }
}

std::int64_t padded_columns(std::int64_t columns, DType dtype) {
  const auto size = static_cast<std::int64_t>(size_of(dtype));
  return (columns * size + 15) / 16 * 16 / size;
}

/// Shape [flat, columns] or [experts, capacity, columns], rows padded to 16 bytes.
void compare_shape(const Place& place, const Route& route, std::int64_t flat, std::int64_t columns, DType dtype,
                   const ConstTensorView& got, const std::string& what) {
  if (!got.defined()) {
    place.fail(what + " is undefined");
    return;
  }
  place.require(got.dtype() == dtype, what + " has dtype " + std::string(name(got.dtype())));
  const bool slots = route.layout() == Layout::expert_slots;
  place.equal(slots ? 3 : 2, got.dimensions(), what + " dimensions");
  if (got.dimensions() != (slots ? 3 : 2)) {
    return;
  }
  const int last = got.dimensions() - 1;
  place.equal(columns, got.size(last), what + " columns");
  place.equal(route.capacity(), got.size(last - 1), what + " rows");
  place.equal(flat, got.count() / std::max<std::int64_t>(columns, 1), what + " flat rows");
  place.equal(std::int64_t{1}, got.stride(last), what + " column stride");
  place.equal(padded_columns(columns, dtype), got.stride(last - 1), what + " row stride");
  if (slots) {
    place.equal(padded_columns(columns, dtype) * route.capacity(), got.stride(0), what + " expert stride");
  }
  place.require(reinterpret_cast<std::uintptr_t>(got.data()) % 16 == 0, what + " is not aligned to 16 bytes");
}

std::int64_t compare_bytes(const Place& place, const std::vector<bool>& written, const reference::Bytes& expected,
                           std::size_t row_bytes, const ConstTensorView& view, const Poison& poison,
                           const std::string& what) {
  const std::vector<std::byte> got = download(view);
  if (got.size() != expected.size() || row_bytes * written.size() != got.size()) {
    place.fail(what + ": expected " + std::to_string(expected.size()) + " bytes, got " + std::to_string(got.size()));
    return 0;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(view.data());
  const bool poisoned = address >= poison.begin && address + got.size() <= poison.end;
  std::int64_t untouched = 0;
  for (std::size_t row = 0; row < written.size(); ++row) {
    const std::byte* bytes = got.data() + row * row_bytes;
    const std::byte* wanted = expected.data() + row * row_bytes;
    if (written[row]) {
      for (std::size_t i = 0; i < row_bytes; ++i) {
        if (bytes[i] != wanted[i]) {
          place.fail(what + " row " + std::to_string(row) + " differs at byte " + std::to_string(i) + ": expected " +
                     std::to_string(static_cast<int>(wanted[i])) + ", got " +
                     std::to_string(static_cast<int>(bytes[i])));
          return untouched;
        }
      }
    } else if (poisoned) {
      ++untouched;
      for (std::size_t i = 0; i < row_bytes; ++i) {
        if (bytes[i] != poison.value) {
          place.fail(what + " row " + std::to_string(row) + " is tail and was written at byte " + std::to_string(i));
          return untouched;
        }
      }
    }
  }
  return untouched;
}

}  // namespace

void compare_status(const Place& place, const Status& expected, const Status& got) {
  if (expected.code != got.code) {
    place.fail("status: expected " + expected.message() + "; got " + got.message());
    return;
  }
  place.equal(expected.rank, got.rank, "status rank");
  place.equal(expected.expert, got.expert, "status expert");
  place.equal(expected.count, got.count, "status count");
  if (expected.code == ErrorCode::heap_exhausted) {
    place.require(got.needed > got.capacity, "status: bytes needed " + std::to_string(got.needed) +
                                                 " do not exceed bytes free " + std::to_string(got.capacity));
    return;
  }
  place.equal(expected.needed, got.needed, "status needed");
  place.equal(expected.capacity, got.capacity, "status capacity");
}

void compare_route(const Place& place, const reference::Result& expected, int rank, const Route& got) {
  const reference::Delivered& here = expected.received[static_cast<std::size_t>(rank)];
  compare_status(place, expected.status, got.status());
  place.equal(expected.num_dropped, got.num_dropped(), "num_dropped");
  place.equal(here.num_rows, got.num_rows(), "num_rows");
  compare_values(place, expected.sources[static_cast<std::size_t>(rank)].counts, got.send_counts(), "send_counts");
  compare_values(place, here.receive_counts, got.receive_counts(), "receive_counts");
  compare_values(place, here.expert_counts, got.expert_counts(), "expert_counts");
  compare_values(place, here.expert_offsets, got.expert_offsets(), "expert_offsets");
  compare_values(place, here.origins, got.origins(), "origins");
  if (here.expert_ids.empty() && !here.origins.empty()) {
    place.require(!got.expert_ids().defined(), "expert_ids are defined");
  } else if (got.expert_ids().defined()) {
    compare_values(place, here.expert_ids, got.expert_ids(), "expert_ids");
  } else {
    place.require(here.expert_ids.empty(), "expert_ids are undefined");
  }
}

std::int64_t compare_dispatched(const Place& place, const reference::Result& expected, int rank,
                                const PayloadFormat& format, const Poison& poison, const Dispatched& got) {
  const reference::Delivered& here = expected.received[static_cast<std::size_t>(rank)];
  const auto flat = static_cast<std::int64_t>(here.origins.size());
  compare_shape(place, got.route, flat, format.hidden, format.rows, got.rows, "rows");
  std::int64_t untouched =
      compare_bytes(place, here.payload_written, here.rows, here.row_bytes, got.rows, poison, "rows");
  if (format.scales) {
    compare_shape(place, got.route, flat, (format.hidden + 127) / 128, *format.scales, got.scales, "scales");
    untouched +=
        compare_bytes(place, here.payload_written, here.scales, here.scale_bytes, got.scales, poison, "scales");
  } else {
    place.require(!got.scales.defined(), "scales are defined");
  }
  place.require(got.weights.defined() == format.weights, "weights are defined only if sent");
  if (got.weights.defined()) {
    compare_values(place, here.weights, got.weights, "weights");
  }
  return untouched;
}

}  // namespace railyard::multi_rank
