// SPDX-License-Identifier: Apache-2.0
// Any row, any codec: every instruction-set level encodes and decodes it to the bytes that the reference defines.
#include "codecs/implementation.hpp"
#include "codecs/row_format.hpp"
#include "fuzz/fuzz.hpp"
#include "reference/row_codec.hpp"

#include <cstring>
#include <vector>

namespace railyard::fuzz {
namespace {

constexpr std::byte kGuard{0x6E};
constexpr std::size_t kGuardBytes = 32;

/// `bytes` bytes behind a guard, with another one after them.
struct Guarded {
  explicit Guarded(std::size_t bytes, std::size_t misalignment)
      : memory(bytes + 2 * kGuardBytes + misalignment, kGuard), begin(kGuardBytes + misalignment), size(bytes) {}
  [[nodiscard]] std::byte* data() { return memory.data() + begin; }
  [[nodiscard]] std::vector<std::byte> content() const {
    return {memory.begin() + static_cast<std::ptrdiff_t>(begin),
            memory.begin() + static_cast<std::ptrdiff_t>(begin + size)};
  }
  void check(const std::string& what) const {
    for (std::size_t i = 0; i < memory.size(); ++i) {
      require((i >= begin && i < begin + size) || memory[i] == kGuard, what + " wrote outside its row");
    }
  }
  std::vector<std::byte> memory;
  std::size_t begin;
  std::size_t size;
};

float float_of(DType dtype, const std::byte* element) {
  std::uint32_t bits = 0;
  if (dtype == DType::fp32) {
    std::memcpy(&bits, element, 4);
  } else {
    std::uint16_t half = 0;
    std::memcpy(&half, element, 2);
    bits = static_cast<std::uint32_t>(half) << 16;
  }
  float value = 0;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace

void fuzz_codecs(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto codec = static_cast<Codec>(input.between(0, 4));
  const auto dtype = static_cast<DType>(input.between(0, 2));
  const int hidden = 8 * (input.flag() ? input.between(1, 20) : input.between(1, 255));
  const auto misalignment = static_cast<std::size_t>(input.between(0, 15));
  const bool repeat = input.flag();
  const std::size_t element = size_of(dtype);
  std::vector<std::byte> x(static_cast<std::size_t>(hidden) * element + misalignment);
  std::uint32_t bits = 0;
  const int special = input.between(0, 255);  // how many elements until an infinity, which random bits rarely make
  for (std::size_t i = 0; i < static_cast<std::size_t>(hidden); ++i) {
    // Few bytes make a whole row: the rest repeats with small changes, so that amax stays interesting.
    bits = input.left() > 0 ? input.value<std::uint32_t>() : repeat ? bits * 5 + 0x00010001U : 0;
    std::memcpy(x.data() + misalignment + i * element, &bits, element);
  }
  if (special < hidden) {
    const std::uint32_t infinity = dtype == DType::fp32 ? 0x7F800000U : dtype == DType::bf16 ? 0x7F80U : 0x7C00U;
    std::memcpy(x.data() + misalignment + static_cast<std::size_t>(special) * element, &infinity, element);
  }
  const std::byte* const row = x.data() + misalignment;
  const reference::EncodedRow expected = reference::encode_row(codec, dtype, row, hidden);
  const codecs::RowFormat format = codecs::RowFormat::of(codec, hidden);
  require(format.row_bytes == expected.row.size() && format.scale_bytes == expected.scales.size(), "row format");
  const bool same_type = element_type(codec) == dtype;
  const std::vector<float> decoded = reference::decode_row(codec, expected.row.data(), expected.scales.data(), hidden);
  for (const codecs::Level level : {codecs::Level::scalar, codecs::Level::avx2, codecs::Level::avx512}) {
    if (!codecs::supported(level)) {
      continue;
    }
    const codecs::Implementation& table = codecs::implementation(level);
    const std::string what = std::string(codecs::name(level)) + " " + std::string(name(codec)) + " from " +
                             std::string(name(dtype)) + ", hidden " + std::to_string(hidden);
    Guarded encoded(format.row_bytes, misalignment);
    Guarded scales(format.scale_bytes, misalignment % 4);
    table.encode[static_cast<std::size_t>(codec)][static_cast<std::size_t>(dtype)](row, encoded.data(), scales.data(),
                                                                                   hidden);
    encoded.check(what);
    scales.check(what);
    if (same_type) {
      // A row of the wire's own type is copied, NaN payloads included.
      require(std::memcmp(encoded.data(), row, format.row_bytes) == 0, what + ": not a copy");
    } else {
      require(encoded.content() == expected.row, what + ": row differs");
      require(scales.content() == expected.scales, what + ": scales differ");
    }
    Guarded back(static_cast<std::size_t>(hidden) * 4, 4);
    table.decode[static_cast<std::size_t>(codec)][static_cast<std::size_t>(DType::fp32)](
        expected.row.data(), expected.scales.data(), back.data(), hidden);
    back.check(what + " decode");
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const float got = float_of(DType::fp32, back.data() + 4 * i);
      require((got != got && decoded[i] != decoded[i]) || std::memcmp(&got, &decoded[i], 4) == 0,
              what + ": element " + std::to_string(i) + " decodes to " + std::to_string(got));
    }
  }
}

}  // namespace railyard::fuzz
