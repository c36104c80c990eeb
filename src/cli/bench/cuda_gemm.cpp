// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_gemm.hpp"

#include "device/cuda_call.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

namespace railyard::cli::bench {
namespace {

using device::require_cuda;
using device::UseDevice;

constexpr int kSize = 8192;
constexpr std::size_t kBytes = std::size_t{kSize} * kSize * 2;
constexpr int kWarmup = 3;
constexpr int kMeasured = 10;
constexpr double kMargin = 1.5;  // operations are slower beside a product than alone

// Elements of all exponents about 1, both signs: zeros would need less power.
void fill(DeviceMemory& memory, std::uint32_t seed) {
  std::vector<std::uint16_t> values(kBytes / 2);
  for (std::uint16_t& value : values) {
    seed = seed * 1664525U + 1013904223U;
    value = static_cast<std::uint16_t>((seed >> 16U & 0x80FFU) | 0x3F00U);
  }
  require_cuda(cudaMemcpy(memory.data(), values.data(), kBytes, cudaMemcpyHostToDevice), "uploading a matrix");
}

}  // namespace

GemmBeside::Gpu::Gpu(int index, int left_sms)
    : device(index), context(index, left_sms), a(index, kBytes), b(index, kBytes), c(index, kBytes) {
  const UseDevice use(index);
  fill(a, 1);
  fill(b, 2);
  const GreenContext::Use current(context);
  cublas = std::make_unique<Cublas>(context.stream(), context.sms());
}

void GemmBeside::Gpu::multiply() const {
  const GreenContext::Use current(context);
  cublas->multiply(kSize, a.data(), b.data(), c.data());
}

GemmBeside::GemmBeside(const std::vector<int>& devices, int left_sms) {
  for (const int device : devices) {
    gpus_.push_back(std::make_unique<const Gpu>(device, left_sms));
    microseconds_ = std::max(microseconds_, measure(*gpus_.back()));
  }
}

double GemmBeside::measure(const Gpu& gpu) {
  const UseDevice use(gpu.device);
  for (int i = 0; i < kWarmup; ++i) {
    gpu.multiply();
  }
  require_cuda(cudaStreamSynchronize(gpu.context.stream()), "a matrix product");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kMeasured; ++i) {
    gpu.multiply();
  }
  require_cuda(cudaStreamSynchronize(gpu.context.stream()), "a matrix product");
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / kMeasured;
}

void GemmBeside::start(int rank, double microseconds) const {
  const UseDevice use(gpu(rank).device);
  const int products = static_cast<int>(std::ceil(kMargin * microseconds / microseconds_)) + 2;
  for (int i = 0; i < products; ++i) {
    gpu(rank).multiply();
  }
}

bool GemmBeside::finish(int rank) const {
  const cudaStream_t stream = gpu(rank).context.stream();
  const bool was_running = cudaStreamQuery(stream) == cudaErrorNotReady;
  require_cuda(cudaStreamSynchronize(stream), "a matrix product");
  return was_running;
}

}  // namespace railyard::cli::bench
