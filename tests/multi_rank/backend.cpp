// SPDX-License-Identifier: Apache-2.0
#include "multi_rank/backend.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace railyard::multi_rank {
namespace {

constexpr std::size_t kGuardBytes = 256;
constexpr std::byte kGuard{0x5C};

class HostThreads final : public HostBackend {
 public:
  std::string_view name() const override { return "host-threads"; }
  World make_world(int ranks, WorldOptions options) override { return World::threads(ranks, std::move(options)); }
};

/// Calls `visit(element offset)` for the start of each innermost row; `elements` of them follow each other.
template <typename Visit>
void for_each_row(const ConstTensorView& view, Visit visit) {
  const int dimensions = view.dimensions();
  const std::int64_t outer = dimensions > 2 ? view.size(0) : 1;
  const std::int64_t inner = dimensions > 1 ? view.size(dimensions - 2) : 1;
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t j = 0; j < inner; ++j) {
      visit((dimensions > 2 ? i * view.stride(0) : 0) + (dimensions > 1 ? j * view.stride(dimensions - 2) : 0));
    }
  }
}

std::size_t row_bytes(const ConstTensorView& view) {
  return static_cast<std::size_t>(view.size(view.dimensions() - 1)) * size_of(view.dtype());
}

}  // namespace

std::shared_ptr<std::byte> HostBackend::allocate(Device, std::size_t bytes) {
  constexpr std::align_val_t kAlignment{256};
  return {static_cast<std::byte*>(::operator new(bytes, kAlignment)),
          [](std::byte* memory) { ::operator delete(memory, kAlignment); }};
}

void HostBackend::copy_to_device(void* device, const void* host, std::size_t bytes) {
  std::memcpy(device, host, bytes);
}

void HostBackend::copy_to_host(void* host, const void* device, std::size_t bytes) { std::memcpy(host, device, bytes); }

void Backend::run(int ranks, WorldOptions options, const std::function<void(Rank&)>& body, Report& report) {
  try {
    make_world(ranks, std::move(options)).run(body);
  } catch (const std::exception& error) {
    report.fail(std::string("threw ") + error.what());
  }
}

Backend& backend() {
  static HostThreads host_threads;
  static Backend* const chosen = []() -> Backend* {
    const char* wanted = std::getenv("RAILYARD_TEST_BACKEND");
    if (wanted == nullptr || wanted == host_threads.name()) return &host_threads;
    if (wanted == host_processes().name()) return &host_processes();
#ifdef RAILYARD_CUDA
    if (std::string_view(wanted) == "cuda-threads") return &cuda_threads();
    if (std::string_view(wanted) == "cuda-processes") return &cuda_processes();
#endif
    throw std::runtime_error(
        std::string("RAILYARD_TEST_BACKEND is '") + wanted +
        "'; a build has host-threads, host-processes, and with the CUDA part cuda-threads and cuda-processes");
  }();
  return *chosen;
}

std::uint64_t from_environment(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::stoull(text);
}

std::chrono::seconds case_deadline() { return std::chrono::seconds(from_environment("RAILYARD_TEST_DEADLINE_S", 60)); }

Buffer::Buffer(Device device, std::size_t bytes, std::size_t misalignment, std::byte fill)
    : bytes_(bytes), start_(kGuardBytes + misalignment) {
  if (bytes == 0) {
    return;
  }
  memory_ = backend().allocate(device, start_ + bytes + kGuardBytes);
  std::vector<std::byte> content(start_ + bytes + kGuardBytes, kGuard);
  std::memset(content.data() + start_, static_cast<int>(fill), bytes);
  backend().copy_to_device(memory_.get(), content.data(), content.size());
}

void* Buffer::data() const noexcept { return bytes_ == 0 ? nullptr : memory_.get() + start_; }

void Buffer::upload(const void* host, std::size_t bytes, std::size_t offset) const {
  if (offset + bytes > bytes_) {
    throw std::logic_error("upload past the end of a buffer");
  }
  if (bytes > 0) {
    backend().copy_to_device(memory_.get() + start_ + offset, host, bytes);
  }
}

std::vector<std::byte> Buffer::download() const {
  std::vector<std::byte> content(bytes_);
  if (bytes_ > 0) {
    backend().copy_to_host(content.data(), memory_.get() + start_, bytes_);
  }
  return content;
}

bool Buffer::guards_intact() const {
  if (bytes_ == 0) {
    return true;
  }
  std::vector<std::byte> content(start_ + bytes_ + kGuardBytes);
  backend().copy_to_host(content.data(), memory_.get(), content.size());
  for (std::size_t i = 0; i < content.size(); ++i) {
    if ((i < start_ || i >= start_ + bytes_) && content[i] != kGuard) {
      return false;
    }
  }
  return true;
}

std::vector<std::byte> download(const ConstTensorView& view) {
  std::vector<std::byte> packed(static_cast<std::size_t>(view.count()) * size_of(view.dtype()));
  if (packed.empty()) {
    return packed;
  }
  std::byte* next = packed.data();
  const auto* base = static_cast<const std::byte*>(view.data());
  for_each_row(view, [&](std::int64_t offset) {
    backend().copy_to_host(next, base + offset * static_cast<std::int64_t>(size_of(view.dtype())), row_bytes(view));
    next += row_bytes(view);
  });
  return packed;
}

void upload(const TensorView& view, const std::vector<std::byte>& packed) {
  const std::size_t bytes = static_cast<std::size_t>(view.count()) * size_of(view.dtype());
  if (packed.size() < bytes) {
    throw std::logic_error("upload of fewer bytes than the view holds");
  }
  if (bytes == 0) {
    return;
  }
  const std::byte* next = packed.data();
  auto* base = static_cast<std::byte*>(view.data());
  for_each_row(view, [&](std::int64_t offset) {
    backend().copy_to_device(base + offset * static_cast<std::int64_t>(size_of(view.dtype())), next, row_bytes(view));
    next += row_bytes(view);
  });
}

void fill(const TensorView& view, std::byte value) {
  if (view.count() == 0) {
    return;
  }
  std::int64_t last = 0;
  for (int d = 0; d < view.dimensions(); ++d) {
    last += (view.size(d) - 1) * view.stride(d);
  }
  const std::vector<std::byte> bytes(static_cast<std::size_t>(last + 1) * size_of(view.dtype()), value);
  backend().copy_to_device(view.data(), bytes.data(), bytes.size());
}

}  // namespace railyard::multi_rank
