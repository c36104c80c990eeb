// SPDX-License-Identifier: Apache-2.0
// Where the properties run. A property is written once, against this seam: inputs are copied to the rank's device,
// outputs are copied back. RAILYARD_TEST_BACKEND chooses one by name; without it the first is taken.
#pragma once

#include "multi_rank/report.hpp"

#include <railyard/stream.hpp>
#include <railyard/tensor.hpp>
#include <railyard/world.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

namespace railyard::multi_rank {

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual DeviceKind device_kind() const = 0;
  /// More do not run well together.
  [[nodiscard]] virtual int max_ranks() const = 0;
  [[nodiscard]] virtual World make_world(int ranks, WorldOptions options) = 0;
  /// The same with the devices that ranks are on.
  [[nodiscard]] virtual WorldOptions with_devices(WorldOptions options) { return options; }
  /// `body` once per rank of a world; returns when all have ended. What it tells `report`, and what it throws, is in
  /// `report` then. Bodies share nothing else: they may run in processes.
  virtual void run(int ranks, WorldOptions options, const std::function<void(Rank&)>& body, Report& report);
  /// Memory on `device`, aligned to 256 bytes, freed with the last copy of the pointer.
  [[nodiscard]] virtual std::shared_ptr<std::byte> allocate(Device device, std::size_t bytes) = 0;
  virtual void copy_to_device(void* device, const void* host, std::size_t bytes) = 0;
  virtual void copy_to_host(void* host, const void* device, std::size_t bytes) = 0;
  [[nodiscard]] virtual Stream stream(Device device) = 0;
};

/// The caller's memory is this process's.
class HostBackend : public Backend {
 public:
  DeviceKind device_kind() const override { return DeviceKind::host; }
  int max_ranks() const override { return 16; }
  std::shared_ptr<std::byte> allocate(Device device, std::size_t bytes) override;
  void copy_to_device(void* device, const void* host, std::size_t bytes) override;
  void copy_to_host(void* host, const void* device, std::size_t bytes) override;
  Stream stream(Device) override { return {}; }
};

[[nodiscard]] Backend& host_processes();
#ifdef RAILYARD_CUDA
[[nodiscard]] Backend& cuda_threads();
[[nodiscard]] Backend& cuda_processes();
#endif

/// The chosen backend. Throws std::runtime_error for an unknown name.
[[nodiscard]] Backend& backend();

/// A number from a variable of the environment.
[[nodiscard]] std::uint64_t from_environment(const char* variable, std::uint64_t otherwise);

/// The deadline of waits that should never reach it: 60 s, or RAILYARD_TEST_DEADLINE_S.
[[nodiscard]] std::chrono::seconds case_deadline();

/// Memory of the caller on a device, with guard bytes around it, at `misalignment` bytes past an aligned address.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device device, std::size_t bytes, std::size_t misalignment = 0, std::byte fill = std::byte{0xA5});
  /// The content; null for zero bytes, as callers without tokens pass it.
  [[nodiscard]] void* data() const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  void upload(const void* host, std::size_t bytes, std::size_t offset = 0) const;
  [[nodiscard]] std::vector<std::byte> download() const;
  /// Whether the bytes around the content are as they were.
  [[nodiscard]] bool guards_intact() const;

 private:
  std::shared_ptr<std::byte> memory_;
  std::size_t bytes_ = 0;
  std::size_t start_ = 0;
};

/// The elements of a view as packed bytes on the host, and the reverse.
[[nodiscard]] std::vector<std::byte> download(const ConstTensorView& view);
void upload(const TensorView& view, const std::vector<std::byte>& packed);
/// Fills every byte that the view spans, the gaps between its rows included.
void fill(const TensorView& view, std::byte value);

template <typename T>
[[nodiscard]] std::vector<T> download_as(const ConstTensorView& view) {
  const std::vector<std::byte> bytes = download(view);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) {
    __builtin_memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  }
  return values;
}

}  // namespace railyard::multi_rank
