// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/cuda_resources.hpp"

#include "device/cuda_call.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <cstdint>

namespace railyard::cli::bench {

using device::require_cuda;
using device::UseDevice;

DeviceMemory::DeviceMemory(int device, std::size_t bytes) : memory_(nullptr, Free{device}), bytes_(bytes) {
  const UseDevice use(device);
  void* memory = nullptr;
  require_cuda(cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)),
               diagnostics::format("{} bytes on cuda:{}", bytes, device));
  memory_.reset(static_cast<std::byte*>(memory));
}

void DeviceMemory::Free::operator()(std::byte* memory) const noexcept {
  const UseDevice use(device);
  static_cast<void>(cudaFree(memory));
}

RankStreams::RankStreams(const std::vector<int>& devices) : devices_(devices) {
  for (const int device : devices_) {
    const UseDevice use(device);
    require_cuda(cudaStreamCreateWithFlags(&streams_.emplace_back(nullptr), cudaStreamNonBlocking), "a stream");
  }
}

RankStreams::~RankStreams() {
  for (std::size_t rank = 0; rank < streams_.size(); ++rank) {
    const UseDevice use(devices_[rank]);
    static_cast<void>(cudaStreamDestroy(streams_[rank]));
  }
}

EventRow::EventRow(int device, int count) : device_(device) {
  const UseDevice use(device);
  for (int i = 0; i < count; ++i) {
    require_cuda(cudaEventCreate(&events_.emplace_back(nullptr)), "an event");
  }
}

EventRow::~EventRow() {
  const UseDevice use(device_);
  for (cudaEvent_t event : events_) {
    static_cast<void>(cudaEventDestroy(event));
  }
}

void EventRow::record(int index, cudaStream_t stream) {
  require_cuda(cudaEventRecord(events_[static_cast<std::size_t>(index)], stream), "recording an event");
}

double EventRow::microseconds(int index) const {
  const auto first = static_cast<std::size_t>(index);
  float milliseconds = 0.0F;
  require_cuda(cudaEventElapsedTime(&milliseconds, events_[first], events_[first + 1]), "the time between two events");
  return static_cast<double>(milliseconds) * 1e3;
}

RecordedWork::RecordedWork(cudaStream_t stream, const std::function<void()>& submit) {
  cudaGraph_t graph = nullptr;
  require_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a graph");
  try {
    submit();
  } catch (...) {
    static_cast<void>(cudaStreamEndCapture(stream, &graph));
    static_cast<void>(cudaGraphDestroy(graph));
    throw;
  }
  require_cuda(cudaStreamEndCapture(stream, &graph), "recording a graph");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  static_cast<void>(cudaGraphDestroy(graph));
  require_cuda(error, "making a graph");
  graph_.reset(executable);
}

void RecordedWork::upload(cudaStream_t stream) const {
  require_cuda(cudaGraphUpload(graph_.get(), stream), "uploading a graph");
}

void RecordedWork::launch(cudaStream_t stream) const {
  require_cuda(cudaGraphLaunch(graph_.get(), stream), "launching a graph");
}

}  // namespace railyard::cli::bench
