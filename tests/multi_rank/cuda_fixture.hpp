// SPDX-License-Identifier: Apache-2.0
// What the tests of ranks on GPUs share: streams, delays on the device, comparisons that the host does not wait for.
#pragma once

#include "device/cuda_ranks.hpp"
#include "multi_rank/backend.hpp"
#include "multi_rank/plain.hpp"
#include "multi_rank/random.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace railyard::multi_rank {

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

inline cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.native()); }

/// A stream of the current device. Never destroyed: leases remember the streams that used them.
inline Stream new_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

/// Later work on the stream waits this long, on the device: functions of the host on different streams wait for each
/// other.
inline void delay(Stream stream, std::chrono::microseconds time) {
  device_tests::busy(static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count()), native(stream));
}

class Cuda : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("RAILYARD_TEST_BACKEND", "cuda-threads", 0); }

  Scenario scenario_ = plain_scenario({}, Mode::throughput);

  std::vector<PlainRound> rounds(std::size_t count, std::uint64_t seed) {
    scenario_.options.heap_bytes = std::size_t{8} << 20;
    std::vector<PlainRound> made;
    for (std::size_t i = 0; i < count; ++i) made.push_back(plain_round(scenario_, seed + i, Layout::rank_major));
    return made;
  }

  // The same with fewer tokens than rows, by a word of the device.
  PlainRound with_tokens(PlainRound plain, std::uint64_t seed) {
    Random random(seed);
    for (std::int64_t& tokens : plain.round.tokens) tokens = random.between(0, scenario_.options.max_tokens);
    plain.round.token_word = true;
    Scenario alone = scenario_;
    alone.rounds = {plain.round};
    plain.expected = std::move(expect(alone).front());
    return plain;
  }
};

/// Bytes of a verified result on the device, and what later ones are compared with.
class Sample {
 public:
  Sample(Device device, const ConstTensorView& verified) : buffer_(device, bytes_of(verified)) {
    backend().copy_to_host(content_.data(), verified.data(), content_.size());
    buffer_.upload(content_.data(), content_.size());
  }
  /// Adds the bytes that differ, in stream order.
  void compare(const ConstTensorView& got, const Buffer& differences, Stream stream) const {
    device_tests::count_differences(static_cast<const std::byte*>(got.data()),
                                    static_cast<const std::byte*>(buffer_.data()), buffer_.bytes(),
                                    static_cast<std::uint64_t*>(differences.data()), native(stream));
  }

 private:
  std::size_t bytes_of(const ConstTensorView& view) {
    content_.resize(static_cast<std::size_t>(view.count()) * size_of(view.dtype()));
    return content_.size();
  }

  std::vector<std::byte> content_;
  Buffer buffer_;
};

}  // namespace railyard::multi_rank
