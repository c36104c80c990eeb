// SPDX-License-Identifier: Apache-2.0
// libcublas, found when it is asked for: one matrix product.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

namespace railyard::cli::bench {

/// Products of square BF16 matrices on one stream of the current context.
class Cublas {
 public:
  /// Throws Error{unsupported}: no libcublas, or what it says.
  Cublas(cudaStream_t stream, int sms);
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  /// c = a b, each [size, size] BF16.
  void multiply(int size, const void* a, const void* b, void* c) const;

 private:
  struct Library;
  std::unique_ptr<const Library> library_;
  void* handle_ = nullptr;
};

}  // namespace railyard::cli::bench
