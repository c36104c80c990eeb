// SPDX-License-Identifier: Apache-2.0
// Ranks on the GPUs of this machine (with one GPU, two virtual ranks on it): a dispatch and a combine on a stream.
#include <railyard/exchange.hpp>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace {

constexpr int kTokens = 128;
constexpr int kHidden = 1024;
constexpr int kTopK = 2;

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

template <typename T>
T* to_device(const std::vector<T>& values, cudaStream_t stream) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, values.size() * sizeof(T)));
  check(cudaMemcpyAsync(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream));
  return static_cast<T*>(memory);
}

void run(railyard::Rank& rank) {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  std::vector<float> ones(kTokens * kHidden, 1.0F);
  std::vector<std::int32_t> ids(kTokens * kTopK);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 7 % 16);
  const float* const x = to_device(ones, stream);
  float* const out = to_device(ones, stream);
  const std::int32_t* const top_k_ids = to_device(ids, stream);
  check(cudaStreamSynchronize(stream));

  railyard::Group group(rank, {.num_experts = 16,
                               .max_top_k = kTopK,
                               .max_tokens = kTokens,
                               .hidden = kHidden,
                               .row_dtype = railyard::DType::fp32});
  // The calls return at once; the work is on the stream.
  const railyard::Dispatched in = group.dispatch({x, railyard::DType::fp32, {kTokens, kHidden}, rank.device()},
                                                 {top_k_ids, railyard::DType::int32, {kTokens, kTopK}, rank.device()},
                                                 {}, railyard::Stream(stream));
  // Experts would run here, on the stream, over in.rows and in.route.device_expert_counts(). Ours is the identity.
  const railyard::Combined done = group.combine(
      in.rows, in.route, {out, railyard::DType::fp32, {kTokens, kHidden}, rank.device()}, {}, railyard::Stream(stream));
  done.check();  // waits, and throws if a heap was full, an id invalid, a rank missing, ...

  std::vector<float> result(ones.size());
  check(cudaMemcpyAsync(result.data(), out, result.size() * sizeof(float), cudaMemcpyDeviceToHost, stream));
  check(cudaStreamSynchronize(stream));
  std::printf("rank %d on cuda:%d received %lld rows; a token came back as %.0f times itself\n", rank.index(),
              rank.device().index, static_cast<long long>(in.route.num_rows()), static_cast<double>(result[0]));
}

}  // namespace

int main() {
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);  // ranks that share a GPU need it; before CUDA starts
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0) {
    std::puts("no GPU here: nothing was run");
    return 0;
  }
  railyard::WorldOptions options;
  for (int gpu = 0; gpu < gpus; ++gpu) options.devices.push_back({railyard::DeviceKind::cuda, gpu});
  railyard::World::threads(gpus > 1 ? gpus : 2, options).run(run);
  return 0;
}
