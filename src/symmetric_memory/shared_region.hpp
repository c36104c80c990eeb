// SPDX-License-Identifier: Apache-2.0
// A memory region of the host that other processes of the machine can map.
#pragma once

#include "bootstrap/file_descriptor.hpp"
#include "symmetric_memory/memory_region.hpp"
#include "symmetric_memory/peer_mapping.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

namespace railyard::symmetric_memory {

/// A mapping of `bytes` of a file in memory, readable and writable. Throws RY-OUT-OF-MEMORY.
class SharedMapping {
 public:
  SharedMapping(int descriptor, std::size_t bytes);
  ~SharedMapping();
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;

  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

/// An anonymous file (memfd), which no limit of /dev/shm binds. It is sealed against shrinking, and what is committed
/// has its pages: no access below the committed size can raise SIGBUS, in any process. Fresh pages read as zero.
class SharedRegion final : public MemoryRegion {
 public:
  /// Reserves `limit` bytes of address space. Throws RY-OUT-OF-MEMORY with the bytes asked. `available`: tests only.
  explicit SharedRegion(std::size_t limit, std::function<std::size_t()> available = {});

  /// Refused with the bytes asked, taken and then available before the system would have to end a process for them,
  /// also where up to kMostTakers processes commit at once (available_memory.hpp); and above the limit of a file's size
  /// (RLIMIT_FSIZE).
  void commit(std::size_t bytes) override;
  /// The file, up to its limit: what is committed later needs no sharing.
  [[nodiscard]] std::vector<SharedPart> share() const override;
  [[nodiscard]] std::byte* base() const noexcept override { return mapping_.base(); }
  [[nodiscard]] std::size_t limit() const noexcept override { return mapping_.bytes(); }
  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }

 private:
  bootstrap::FileDescriptor file_;
  SharedMapping mapping_;
  std::function<std::size_t()> available_;  // memory of this machine
  std::size_t committed_ = 0;
};

/// A SharedRegion of another process.
class SharedPeerMapping final : public PeerMapping {
 public:
  void extend(const std::vector<SharedPart>& parts) override {
    if (mapping_) return;
    mapping_.emplace(std::get<bootstrap::FileDescriptor>(parts.front().handle).get(), parts.front().bytes);
  }
  [[nodiscard]] std::byte* base() const noexcept override { return mapping_->base(); }

 private:
  std::optional<SharedMapping> mapping_;
};

}  // namespace railyard::symmetric_memory
