// SPDX-License-Identifier: Apache-2.0
// A memory region of a GPU, at one address on all devices of this process that use it.
#pragma once

#include "symmetric_memory/cuda_address_range.hpp"
#include "symmetric_memory/memory_region.hpp"
#include "symmetric_memory/peer_mapping.hpp"

#include <railyard/types.hpp>

#include <cstddef>
#include <vector>

namespace railyard::symmetric_memory {

/// Fresh memory is not cleared.
class CudaRegion final : public MemoryRegion {
 public:
  /// Memory on `device`, which every one of `users` (with `device` itself) may read and write, shared by `handles`.
  /// Reserves `limit` bytes of address space. Throws RY-OUT-OF-MEMORY, RY-UNSUPPORTED.
  CudaRegion(int device, std::size_t limit, std::vector<int> users, GpuHandles handles = GpuHandles::fd);

  void commit(std::size_t bytes) override;
  [[nodiscard]] std::vector<SharedPart> share() const override;
  [[nodiscard]] std::byte* base() const noexcept override { return range_.base(); }
  [[nodiscard]] std::size_t limit() const noexcept override { return range_.limit(); }

 private:
  GpuHandles handles_;
  CudaAddressRange range_;
};

/// A region of another process, as `device` of this one sees it.
class CudaPeerMapping final : public PeerMapping {
 public:
  /// `handles`: of the region.
  CudaPeerMapping(int device, std::size_t limit, GpuHandles handles) : range_(device, limit, {device}, handles) {}

  void extend(const std::vector<SharedPart>& parts) override;
  [[nodiscard]] std::byte* base() const noexcept override { return range_.base(); }

 private:
  CudaAddressRange range_;
};

}  // namespace railyard::symmetric_memory
