// SPDX-License-Identifier: Apache-2.0
// The fuzzers. Each takes any bytes, compares implementations of one thing, and throws Difference if they disagree.
// Built with libFuzzer they are programs of their own; otherwise replay_test runs them over seeded random bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace railyard::fuzz {

void fuzz_routing(const std::uint8_t* data, std::size_t size);
void fuzz_codecs(const std::uint8_t* data, std::size_t size);
void fuzz_configuration(const std::uint8_t* data, std::size_t size);
void fuzz_rendezvous(const std::uint8_t* data, std::size_t size);

struct Difference : std::logic_error {
  using std::logic_error::logic_error;
};

inline void require(bool condition, const std::string& what) {
  if (!condition) {
    throw Difference(what);
  }
}

/// Reads values from the fuzzer's bytes; zeros once they are used up.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  [[nodiscard]] std::size_t left() const { return size_; }
  template <typename T>
  [[nodiscard]] T value() {
    T value{};
    const std::size_t bytes = size_ < sizeof(T) ? size_ : sizeof(T);
    if (bytes > 0) {
      std::memcpy(&value, data_, bytes);
    }
    data_ += bytes;
    size_ -= bytes;
    return value;
  }
  /// In [low, high]; takes one byte.
  [[nodiscard]] int between(int low, int high) { return low + value<std::uint8_t>() % (high - low + 1); }
  [[nodiscard]] bool flag() { return (value<std::uint8_t>() & 1) != 0; }
  [[nodiscard]] std::string text(std::size_t max_bytes) {
    const std::size_t wanted = static_cast<std::size_t>(between(0, static_cast<int>(max_bytes)));
    const std::size_t bytes = size_ < wanted ? size_ : wanted;
    std::string text(reinterpret_cast<const char*>(data_), bytes);
    data_ += bytes;
    size_ -= bytes;
    return text.substr(0, text.find('\0'));
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

}  // namespace railyard::fuzz
