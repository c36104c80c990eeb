// SPDX-License-Identifier: Apache-2.0
// The kernels by address, and how each of them is launched.
#pragma once

#include "throughput/cuda_launch.hpp"

#include <cstddef>

namespace railyard::throughput {

[[nodiscard]] const void* dispatch_kernel_of(CudaEncode encode, bool timed);
/// `plain_vectors`: as CombinePlan has it.
[[nodiscard]] const void* combine_kernel_of(DType y_dtype, int plain_vectors, bool timed);

/// `params`: the kernel's only parameter. Throws railyard::Error with CUDA's words.
void launch_kernel(const void* kernel, const void* params, int num_blocks, std::size_t shared_bytes, void* stream);

}  // namespace railyard::throughput
