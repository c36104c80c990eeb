// SPDX-License-Identifier: Apache-2.0
// libFuzzer's entry; RAILYARD_FUZZ is one of the functions of fuzz.hpp.
#include "fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  railyard::fuzz::RAILYARD_FUZZ(data, size);
  return 0;
}
