// SPDX-License-Identifier: Apache-2.0
// A part of a GPU's SMs, for work beside the operations that are measured.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace railyard::cli::bench {

/// All SMs of a device but a few.
class GreenContext {
 public:
  /// `left_sms`: at least so many are left to others. Throws Error{unsupported}: an old driver, or what it says.
  GreenContext(int device, int left_sms);
  ~GreenContext();
  GreenContext(const GreenContext&) = delete;
  GreenContext& operator=(const GreenContext&) = delete;

  [[nodiscard]] int sms() const noexcept { return sms_; }
  [[nodiscard]] cudaStream_t stream() const noexcept { return stream_; }
  /// Current in this thread while the object lives.
  class Use {
   public:
    explicit Use(const GreenContext& context);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
  };

 private:
  CUgreenCtx green_ = nullptr;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  int sms_ = 0;
};

}  // namespace railyard::cli::bench
