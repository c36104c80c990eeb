// SPDX-License-Identifier: Apache-2.0
// What the benchmark owns on GPUs: memory, a stream per rank, events, graphs. Making and freeing them may wait for the
// whole device: never while an operation runs whose peers are not all on their way.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace railyard::cli::bench {

/// Uninitialised. Movable, not copyable.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Throws Error{out_of_memory}.
  DeviceMemory(int device, std::size_t bytes);

  [[nodiscard]] std::byte* data() const noexcept { return memory_.get(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Free {
    int device;
    void operator()(std::byte* memory) const noexcept;
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t bytes_ = 0;
};

/// A stream per rank, none of which waits for the default stream.
class RankStreams {
 public:
  /// `devices`: of each rank.
  explicit RankStreams(const std::vector<int>& devices);
  ~RankStreams();
  RankStreams(const RankStreams&) = delete;
  RankStreams& operator=(const RankStreams&) = delete;

  [[nodiscard]] int size() const noexcept { return static_cast<int>(devices_.size()); }
  [[nodiscard]] int device(int rank) const { return devices_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] cudaStream_t operator[](int rank) const { return streams_[static_cast<std::size_t>(rank)]; }

 private:
  std::vector<int> devices_;
  std::vector<cudaStream_t> streams_;
};

/// Events of one stream, in order.
class EventRow {
 public:
  EventRow(int device, int count);
  ~EventRow();
  EventRow(EventRow&& other) noexcept = default;
  EventRow(const EventRow&) = delete;
  EventRow& operator=(const EventRow&) = delete;

  void record(int index, cudaStream_t stream);
  /// Between events `index` and `index + 1`, both of which have happened.
  [[nodiscard]] double microseconds(int index) const;

 private:
  int device_;
  std::vector<cudaEvent_t> events_;
};

/// What one thread submits to one stream, recorded.
class RecordedWork {
 public:
  RecordedWork() = default;
  /// Records what `submit` sends to `stream`. What it throws ends the recording.
  RecordedWork(cudaStream_t stream, const std::function<void()>& submit);

  /// Work ahead of the first launch.
  void upload(cudaStream_t stream) const;
  void launch(cudaStream_t stream) const;

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const noexcept { static_cast<void>(cudaGraphExecDestroy(graph)); }
  };
  std::unique_ptr<CUgraphExec_st, Destroy> graph_;
};

}  // namespace railyard::cli::bench
