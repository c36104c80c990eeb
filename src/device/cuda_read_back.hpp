// SPDX-License-Identifier: Apache-2.0
// Device memory read by the host while other kernels run.
#pragma once

#include "device/cuda_private_stream.hpp"

#include <cstddef>

namespace railyard::device {

/// On the device that is current at its creation, and in every call. Any thread.
class ReadBack {
 public:
  /// `bytes`, rounded up to 8, from device memory to pinned memory, words of 8 bytes whole; both aligned to 8. Waits
  /// for a kernel of one block on a stream of its own, which waits for nobody: copies of several ranks of a GPU may
  /// stand in one queue, behind one that waits for this rank's next operation. Throws RY-UNSUPPORTED with CUDA's words;
  /// `what` names the reading.
  void read(const void* memory, void* pinned, std::size_t bytes, const char* what);

 private:
  PrivateStream stream_;
};

[[nodiscard]] const void* read_back_kernel_address();

}  // namespace railyard::device
