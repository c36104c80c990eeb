// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/symmetric_heap.hpp"

#include "bootstrap/descriptor_exchange.hpp"
#include "diagnostics/format.hpp"
#include "symmetric_memory/host_region.hpp"
#include "symmetric_memory/shared_region.hpp"

#include <railyard/error.hpp>

#include <array>
#include <cstdint>
#include <exception>
#include <utility>

namespace railyard::symmetric_memory {
namespace {

[[noreturn]] void throw_refused(const bootstrap::Bootstrap& bootstrap, std::size_t rank, std::size_t bytes) {
  throw Error(ErrorCode::out_of_memory, diagnostics::format("rank {} could not allocate a heap of {} bytes",
                                                            bootstrap.rank_in_world(static_cast<int>(rank)), bytes));
}

// What an action throws. The peers wait for this rank's answer: they are told first.
template <typename Action>
std::exception_ptr refusal_of(Action action) {
  try {
    action();
  } catch (const std::exception&) {
    return std::current_exception();
  }
  return {};
}

constexpr std::size_t kMostParts = 64;

std::vector<SharedPart> parts_of(const Heap& heap) {
  std::vector<SharedPart> parts = heap.share();
  if (parts.size() <= kMostParts) return parts;
  throw Error(ErrorCode::unsupported, diagnostics::format("a heap that grew {} times; {} at most between processes",
                                                          parts.size() - 1, kMostParts - 1));
}

// Collective: everybody's parts, by rank. A rank that brings none has nothing to share.
std::vector<std::vector<SharedPart>> exchange_parts(bootstrap::Bootstrap& bootstrap,
                                                    const std::vector<SharedPart>& mine,
                                                    std::chrono::nanoseconds timeout) {
  struct Extents {
    std::uint64_t count = 0;
    std::array<std::array<std::uint64_t, 2>, kMostParts> offset_and_bytes{};
  };
  Extents extents{.count = mine.size()};
  std::vector<int> files;
  for (const SharedPart& part : mine) {
    extents.offset_and_bytes[files.size()] = {part.offset, part.bytes};
    files.push_back(part.file.get());
  }
  std::vector<Extents> all(static_cast<std::size_t>(bootstrap.size()));
  bootstrap.all_gather(&extents, all.data(), sizeof(extents), "mapping heaps: extents", timeout);
  auto descriptors = bootstrap::exchange_descriptors(bootstrap, files, "mapping heaps", timeout);
  std::vector<std::vector<SharedPart>> parts(all.size());
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    for (std::size_t i = 0; i < descriptors[rank].size(); ++i) {
      const auto [offset, bytes] = all[rank].offset_and_bytes[i];
      parts[rank].push_back({.offset = offset, .bytes = bytes, .file = std::move(descriptors[rank][i])});
    }
  }
  return parts;
}

void extend(std::vector<std::unique_ptr<PeerMapping>>& mappings, const std::vector<std::vector<SharedPart>>& parts) {
  for (std::size_t rank = 0; rank < mappings.size(); ++rank) {
    if (mappings[rank]) mappings[rank]->extend(parts[rank]);
  }
}

}  // namespace

SymmetricHeap::SymmetricHeap(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const HeapKind& kind,
                             std::chrono::nanoseconds timeout) {
  if (bootstrap.one_process()) {
    share_in_process(bootstrap, bytes, kind, timeout);
  } else {
    share_between_processes(bootstrap, bytes, kind, timeout);
  }
}

void SymmetricHeap::share_in_process(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const HeapKind& kind,
                                     std::chrono::nanoseconds timeout) {
  const std::exception_ptr refusal = refusal_of([&] { own_ = kind.make(); });
  // Shared ownership: a rank that fails from here on lets go of its heap while others may not have looked yet.
  heaps_ = bootstrap.share(own_, "mapping heaps", timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < heaps_.size(); ++rank) {
    if (!heaps_[rank]) throw_refused(bootstrap, rank, bytes);
    bases_.push_back(std::static_pointer_cast<Heap>(heaps_[rank])->base());
  }
}

void SymmetricHeap::share_between_processes(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const HeapKind& kind,
                                            std::chrono::nanoseconds timeout) {
  std::vector<SharedPart> mine;
  std::exception_ptr refusal = refusal_of([&] {
    own_ = kind.make();
    mine = parts_of(*own_);
  });
  const std::vector<std::vector<SharedPart>> parts = exchange_parts(bootstrap, mine, timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    if (parts[rank].empty()) throw_refused(bootstrap, rank, bytes);
  }
  refusal = refusal_of([&] {
    for (std::size_t rank = 0; rank < parts.size(); ++rank) {
      const bool is_own = rank == static_cast<std::size_t>(bootstrap.rank());
      mappings_.push_back(is_own ? nullptr : kind.map());
    }
    extend(mappings_, parts);
  });
  const char mapped = refusal ? 0 : 1;
  std::vector<char> all_mapped(parts.size());
  bootstrap.all_gather(&mapped, all_mapped.data(), sizeof(mapped), "mapping heaps: mapped", timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    if (all_mapped[rank] == 0) {
      throw Error(ErrorCode::out_of_memory,
                  diagnostics::format("rank {} could not map the heaps of {} ranks, of up to {} bytes each",
                                      bootstrap.rank_in_world(static_cast<int>(rank)), parts.size(), own_->limit()));
    }
    bases_.push_back(mappings_[rank] ? mappings_[rank]->base() : own_->base());
  }
}

void SymmetricHeap::number_as(const std::vector<int>& members, int num_ranks) {
  std::vector<std::byte*> by_rank(static_cast<std::size_t>(num_ranks));
  for (std::size_t index = 0; index < members.size(); ++index) {
    by_rank[static_cast<std::size_t>(members[index])] = bases_[index];
  }
  bases_ = std::move(by_rank);
}

void SymmetricHeap::prepare_growth(bootstrap::Bootstrap& bootstrap, std::size_t bytes,
                                   std::chrono::nanoseconds timeout) {
  if (mappings_.empty()) return own_->prepare_growth(bytes);
  std::vector<SharedPart> mine;
  const std::exception_ptr refusal = refusal_of([&] {
    own_->prepare_growth(bytes);
    mine = parts_of(*own_);
  });
  const std::vector<std::vector<SharedPart>> parts = exchange_parts(bootstrap, mine, timeout);
  if (refusal) std::rethrow_exception(refusal);
  extend(mappings_, parts);
}

std::shared_ptr<SymmetricHeap> make_host_heaps(bootstrap::Bootstrap& bootstrap, std::size_t bytes, std::size_t limit,
                                               std::chrono::nanoseconds timeout) {
  const auto make = [&] {
    std::unique_ptr<MemoryRegion> region;
    if (bootstrap.one_process()) {
      region = std::make_unique<HostRegion>(limit);
    } else {
      region = std::make_unique<SharedRegion>(limit);
    }
    return std::make_shared<Heap>(std::move(region), bytes);
  };
  return std::make_shared<SymmetricHeap>(
      bootstrap, bytes, HeapKind{.make = make, .map = [] { return std::make_unique<SharedPeerMapping>(); }}, timeout);
}

}  // namespace railyard::symmetric_memory
