// SPDX-License-Identifier: Apache-2.0
// The fuzzers without libFuzzer: a fixed set of seeded inputs of many lengths, for every compiler.
#include "fuzz/fuzz.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace railyard::fuzz {
namespace {

void replay(void (*fuzz)(const std::uint8_t*, std::size_t), std::uint64_t inputs, std::size_t max_bytes) {
  for (std::uint64_t seed = 0; seed < inputs; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<std::uint8_t> data(random() % max_bytes);
    // Small values are as likely as large ones, so that short choices are reached too.
    const unsigned shift = static_cast<unsigned>(random() % 6);
    for (std::uint8_t& byte : data) {
      byte = static_cast<std::uint8_t>((random() & 0xFF) >> (random() % 2 == 0 ? shift : 0));
    }
    ASSERT_NO_THROW(fuzz(data.data(), data.size())) << "seed " << seed;
  }
}

TEST(FuzzReplay, Routing) { replay(fuzz_routing, 4000, 400); }
TEST(FuzzReplay, Codecs) { replay(fuzz_codecs, 600, 1400); }
TEST(FuzzReplay, Configuration) { replay(fuzz_configuration, 4000, 120); }
TEST(FuzzReplay, Rendezvous) { replay(fuzz_rendezvous, 300, 200); }

}  // namespace
}  // namespace railyard::fuzz
