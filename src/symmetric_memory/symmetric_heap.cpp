// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/symmetric_heap.hpp"

#include "bootstrap/descriptor_exchange.hpp"
#include "diagnostics/format.hpp"
#include "symmetric_memory/host_region.hpp"
#include "symmetric_memory/shared_region.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <variant>

namespace railyard::symmetric_memory {
namespace {

// Why a rank could not do its part, as the others are told. The text ends with a zero.
struct Refusal {
  std::int32_t code = static_cast<std::int32_t>(ErrorCode::ok);  // ok: it could
  std::array<char, 764> text{};

  [[nodiscard]] bool refused() const { return code != static_cast<std::int32_t>(ErrorCode::ok); }
};

[[noreturn]] void throw_refused(const Refusal& refusal, const std::string& what) {
  throw Error(static_cast<ErrorCode>(refusal.code), diagnostics::format("{}: {}", what, refusal.text.data()));
}

std::string could_not_allocate(const bootstrap::Bootstrap& bootstrap, std::size_t rank, std::size_t bytes) {
  return diagnostics::format("rank {} could not allocate a heap of {} bytes",
                             bootstrap.rank_in_world(static_cast<int>(rank)), bytes);
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

Refusal told(const std::exception_ptr& exception) {
  Refusal refusal;
  if (!exception) return refusal;
  ErrorCode code = ErrorCode::out_of_memory;
  std::string text;
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    code = error.code();
    text = error.what();
    const std::string prefix = std::string(code_name(code)) + ": ";
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  } catch (const std::exception& error) {
    text = error.what();
  }
  refusal.code = static_cast<std::int32_t>(code);
  std::copy_n(text.begin(), std::min(text.size(), refusal.text.size() - 1), refusal.text.begin());
  return refusal;
}

constexpr std::size_t kMostParts = 64;

std::vector<SharedPart> parts_of(const Heap& heap) {
  std::vector<SharedPart> parts = heap.share();
  if (parts.empty()) throw Error(ErrorCode::unsupported, "only this process can use this memory");
  if (parts.size() <= kMostParts) return parts;
  throw Error(ErrorCode::unsupported, diagnostics::format("a heap that grew {} times; {} at most between processes",
                                                          parts.size() - 1, kMostParts - 1));
}

// What a rank shares, but for the handles.
struct Offer {
  std::uint32_t count = 0;  // of parts; 0: it was refused
  std::uint32_t by_fabric = 0;
  std::array<std::array<std::uint64_t, 2>, kMostParts> offset_and_bytes{};
  Refusal refusal;
};

// By rank. A rank that was refused has no parts.
struct Offers {
  std::vector<Refusal> refusals;
  std::vector<std::vector<SharedPart>> parts;
};

// Collective: descriptors of memory, which one machine alone can pass on.
void exchange_files(bootstrap::Bootstrap& bootstrap, const std::vector<SharedPart>& mine,
                    std::vector<std::vector<SharedPart>>& parts, std::chrono::nanoseconds timeout) {
  std::vector<int> files;
  for (const SharedPart& part : mine) {
    if (const auto* const file = std::get_if<bootstrap::FileDescriptor>(&part.handle)) files.push_back(file->get());
  }
  auto all = bootstrap::exchange_descriptors(bootstrap, files, "mapping heaps", timeout);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    for (std::size_t i = 0; i < all[rank].size(); ++i) parts[rank][i].handle = std::move(all[rank][i]);
  }
}

// Collective: up to `most` fabric handles of each rank, which are bytes like any others.
void exchange_fabric_handles(bootstrap::Bootstrap& bootstrap, const std::vector<Offer>& offers, std::size_t most,
                             const std::vector<SharedPart>& mine, std::vector<std::vector<SharedPart>>& parts,
                             std::chrono::nanoseconds timeout) {
  std::vector<FabricHandle> handles(most);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    if (const auto* const handle = std::get_if<FabricHandle>(&mine[i].handle)) handles[i] = *handle;
  }
  std::vector<FabricHandle> all(most * parts.size());
  bootstrap.all_gather(handles.data(), all.data(), most * sizeof(FabricHandle), "mapping heaps: fabric handles",
                       timeout);
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    if (offers[rank].by_fabric == 0) continue;
    for (std::size_t i = 0; i < parts[rank].size(); ++i) parts[rank][i].handle = all[rank * most + i];
  }
}

// Collective: everybody's parts. Which handles travel follows from the offers, the same on all ranks.
Offers exchange_parts(bootstrap::Bootstrap& bootstrap, const std::vector<SharedPart>& mine,
                      const std::exception_ptr& refusal, std::chrono::nanoseconds timeout) {
  Offer offer{.count = static_cast<std::uint32_t>(mine.size()), .refusal = told(refusal)};
  for (std::size_t i = 0; i < mine.size(); ++i) {
    offer.offset_and_bytes[i] = {mine[i].offset, mine[i].bytes};
    offer.by_fabric = std::holds_alternative<FabricHandle>(mine[i].handle) ? 1 : 0;
  }
  std::vector<Offer> all(static_cast<std::size_t>(bootstrap.size()));
  bootstrap.all_gather(&offer, all.data(), sizeof(offer), "mapping heaps: extents", timeout);
  Offers offers{.refusals = {}, .parts = std::vector<std::vector<SharedPart>>(all.size())};
  bool any_files = false;
  std::size_t most_by_fabric = 0;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    offers.refusals.push_back(all[rank].refusal);
    for (std::size_t i = 0; i < all[rank].count; ++i) {
      const auto [offset, bytes] = all[rank].offset_and_bytes[i];
      offers.parts[rank].push_back({.offset = offset, .bytes = bytes, .handle = {}});
    }
    if (all[rank].by_fabric != 0) {
      most_by_fabric = std::max<std::size_t>(most_by_fabric, all[rank].count);
    } else {
      any_files = any_files || all[rank].count > 0;
    }
  }
  if (any_files) exchange_files(bootstrap, mine, offers.parts, timeout);
  if (most_by_fabric > 0) exchange_fabric_handles(bootstrap, all, most_by_fabric, mine, offers.parts, timeout);
  return offers;
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
  struct Made {
    std::shared_ptr<Heap> heap;
    Refusal refusal;
  };
  const std::exception_ptr refusal = refusal_of([&] { own_ = kind.make(); });
  // Shared ownership: a rank that fails from here on lets go of its heap while others may not have looked yet.
  heaps_ =
      bootstrap.share(std::make_shared<Made>(Made{.heap = own_, .refusal = told(refusal)}), "mapping heaps", timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < heaps_.size(); ++rank) {
    const auto* const made = static_cast<const Made*>(heaps_[rank].get());
    if (made->refusal.refused()) throw_refused(made->refusal, could_not_allocate(bootstrap, rank, bytes));
    bases_.push_back(made->heap->base());
  }
}

void SymmetricHeap::share_between_processes(bootstrap::Bootstrap& bootstrap, std::size_t bytes, const HeapKind& kind,
                                            std::chrono::nanoseconds timeout) {
  std::vector<SharedPart> mine;
  std::exception_ptr refusal = refusal_of([&] {
    own_ = kind.make();
    mine = parts_of(*own_);
  });
  const Offers offers = exchange_parts(bootstrap, mine, refusal, timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < offers.refusals.size(); ++rank) {
    const Refusal& other = offers.refusals[rank];
    if (other.refused()) throw_refused(other, could_not_allocate(bootstrap, rank, bytes));
  }
  const std::vector<std::vector<SharedPart>>& parts = offers.parts;
  refusal = refusal_of([&] {
    for (std::size_t rank = 0; rank < parts.size(); ++rank) {
      const bool is_own = rank == static_cast<std::size_t>(bootstrap.rank());
      mappings_.push_back(is_own ? nullptr : kind.map());
    }
    extend(mappings_, parts);
  });
  const Refusal mapped = told(refusal);
  std::vector<Refusal> all_mapped(parts.size());
  bootstrap.all_gather(&mapped, all_mapped.data(), sizeof(mapped), "mapping heaps: mapped", timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    if (all_mapped[rank].refused()) {
      throw_refused(all_mapped[rank],
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
  const Offers offers = exchange_parts(bootstrap, mine, refusal, timeout);
  if (refusal) std::rethrow_exception(refusal);
  extend(mappings_, offers.parts);
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
