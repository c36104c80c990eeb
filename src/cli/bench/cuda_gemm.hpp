// SPDX-License-Identifier: Apache-2.0
// A matrix product on every GPU, over and over, on the SMs that the measured operations leave: a layer's experts.
#pragma once

#include "cli/bench/cublas_library.hpp"
#include "cli/bench/cuda_green_context.hpp"
#include "cli/bench/cuda_resources.hpp"

#include <memory>
#include <vector>

namespace railyard::cli::bench {

class GemmBeside {
 public:
  /// `devices`: of the ranks, one each. `left_sms`: what the operations take.
  GemmBeside(const std::vector<int>& devices, int left_sms);

  [[nodiscard]] int sms() const { return gpus_.front()->context.sms(); }
  /// Of a product alone, on its SMs, on the slowest GPU.
  [[nodiscard]] double microseconds() const noexcept { return microseconds_; }

  /// In the rank's thread: products for at least so long. Returns at once.
  void start(int rank, double microseconds) const;
  /// Waits for them. Whether some were still to do when it was called: they were beside all that came before.
  [[nodiscard]] bool finish(int rank) const;

 private:
  struct Gpu {
    Gpu(int index, int left_sms);
    void multiply() const;

    int device;
    GreenContext context;
    std::unique_ptr<Cublas> cublas;
    DeviceMemory a;
    DeviceMemory b;
    DeviceMemory c;
  };

  [[nodiscard]] const Gpu& gpu(int rank) const { return *gpus_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] static double measure(const Gpu& gpu);

  std::vector<std::unique_ptr<const Gpu>> gpus_;
  double microseconds_ = 0.0;
};

}  // namespace railyard::cli::bench
