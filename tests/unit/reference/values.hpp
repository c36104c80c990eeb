// SPDX-License-Identifier: Apache-2.0
// Packing of hand-written numbers, apart from the conversions under test: bf16 is the upper half of a float.
#pragma once

#include "reference/reference.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace railyard::reference {

template <typename T>
Bytes pack(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!values.empty()) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
  }
  return bytes;
}

template <typename T>
std::vector<T> unpack(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) {
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  }
  return values;
}

/// Fails the test for a value that bf16 does not hold exactly.
inline Bytes bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> codes;
  for (const float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    EXPECT_EQ(bits & 0xFFFFU, 0U) << value << " is no bf16 number";
    codes.push_back(static_cast<std::uint16_t>(bits >> 16U));
  }
  return pack(codes);
}

/// `tokens` rows of eight bf16 elements, all equal to first, first + 1, ...
inline Bytes counting_rows(std::int64_t tokens, float first) {
  std::vector<float> values;
  for (std::int64_t token = 0; token < tokens; ++token) {
    values.insert(values.end(), 8, first + static_cast<float>(token));
  }
  return bf16(values);
}

/// The first element of each bf16 row of eight.
inline std::vector<float> first_elements(const Bytes& rows) {
  std::vector<float> values;
  const std::vector<std::uint16_t> codes = unpack<std::uint16_t>(rows);
  for (std::size_t i = 0; i < codes.size(); i += 8) {
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(codes[i]) << 16U));
  }
  return values;
}

}  // namespace railyard::reference
