// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_group.hpp"

namespace railyard::throughput {

std::vector<std::uint64_t> CudaControlLayout::initial_words(std::uint64_t first_epoch) const {
  std::vector<std::uint64_t> words(bytes / sizeof(std::uint64_t), first_epoch << 32);
  for (std::size_t word = arrived / sizeof(std::uint64_t); word < words.size(); ++word) {
    words[word] = first_epoch * kCudaSignalStep;
  }
  return words;
}

CudaGroupState CudaGroupState::initial(std::uint64_t first_epoch) {
  CudaGroupState state;
  for (CudaKindState& kind : state.kinds) kind.epoch = first_epoch;
  return state;
}

}  // namespace railyard::throughput
