// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/symmetric_heap.hpp"

#include "bootstrap/descriptor_exchange.hpp"
#include "diagnostics/format.hpp"
#include "symmetric_memory/host_region.hpp"
#include "symmetric_memory/shared_region.hpp"

#include <railyard/error.hpp>

#include <exception>
#include <utility>

namespace railyard::symmetric_memory {
namespace {

[[noreturn]] void throw_refused(const bootstrap::Bootstrap& bootstrap, std::size_t rank, std::size_t bytes) {
  throw Error(ErrorCode::out_of_memory, diagnostics::format("rank {} could not allocate a heap of {} bytes",
                                                            bootstrap.rank_in_world(static_cast<int>(rank)), bytes));
}

std::shared_ptr<SymmetricHeap> map_heaps(bootstrap::Bootstrap& bootstrap, std::size_t bytes, std::size_t limit,
                                         std::chrono::nanoseconds timeout) {
  std::shared_ptr<Heap> own;
  std::vector<int> descriptors;
  std::exception_ptr refusal;
  try {
    auto region = std::make_unique<SharedRegion>(limit);
    descriptors.push_back(region->descriptor());
    own = std::make_shared<Heap>(std::move(region), bytes);
  } catch (const std::exception&) {
    refusal = std::current_exception();  // the peers wait for this rank's answer: tell them first
    descriptors.clear();
  }
  const auto all = bootstrap::exchange_descriptors(bootstrap, descriptors, "mapping heaps", timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) throw_refused(bootstrap, rank, bytes);
  }
  std::vector<MappedHeap> heaps;
  try {
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      if (rank == static_cast<std::size_t>(bootstrap.rank())) {
        heaps.push_back({own->base(), own});
        continue;
      }
      auto mapping = std::make_shared<SharedMapping>(all[rank].front().get(), limit);
      heaps.push_back({mapping->base(), mapping});
    }
  } catch (const std::exception&) {
    refusal = std::current_exception();
  }
  const char mine = refusal ? 0 : 1;
  std::vector<char> mapped(all.size());
  bootstrap.all_gather(&mine, mapped.data(), sizeof(mine), "mapping heaps: mapped", timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < mapped.size(); ++rank) {
    if (mapped[rank] != 0) continue;
    throw Error(ErrorCode::out_of_memory,
                diagnostics::format("rank {} could not map the heaps of {} ranks, of up to {} bytes each",
                                    bootstrap.rank_in_world(static_cast<int>(rank)), mapped.size(), limit));
  }
  return std::make_shared<SymmetricHeap>(std::move(own), std::move(heaps));
}

}  // namespace

std::shared_ptr<SymmetricHeap> SymmetricHeap::spread(const std::vector<int>& members, int num_ranks) const {
  std::vector<MappedHeap> by_rank(static_cast<std::size_t>(num_ranks));
  for (std::size_t index = 0; index < members.size(); ++index) {
    by_rank[static_cast<std::size_t>(members[index])] = all_[index];
  }
  return std::make_shared<SymmetricHeap>(own_, std::move(by_rank));
}

std::shared_ptr<SymmetricHeap> share_heaps(bootstrap::Bootstrap& bootstrap, std::size_t bytes,
                                           const std::function<std::shared_ptr<Heap>()>& make,
                                           std::chrono::nanoseconds timeout) {
  std::shared_ptr<Heap> own;
  std::exception_ptr refusal;
  try {
    own = make();
  } catch (const std::exception&) {
    refusal = std::current_exception();  // the peers wait for this rank's answer: tell them first
  }
  // Shared ownership: a rank that fails from here on lets go of its heap while others may not have looked yet.
  const std::vector<std::shared_ptr<void>> all = bootstrap.share(own, "mapping heaps", timeout);
  if (refusal) std::rethrow_exception(refusal);
  std::vector<MappedHeap> heaps;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank]) throw_refused(bootstrap, rank, bytes);
    heaps.push_back({std::static_pointer_cast<Heap>(all[rank])->base(), all[rank]});
  }
  return std::make_shared<SymmetricHeap>(std::move(own), std::move(heaps));
}

std::shared_ptr<SymmetricHeap> make_host_heaps(bootstrap::Bootstrap& bootstrap, std::size_t bytes, std::size_t limit,
                                               std::chrono::nanoseconds timeout) {
  if (!bootstrap.one_process()) return map_heaps(bootstrap, bytes, limit, timeout);
  return share_heaps(
      bootstrap, bytes, [&] { return std::make_shared<Heap>(std::make_unique<HostRegion>(limit), bytes); }, timeout);
}

}  // namespace railyard::symmetric_memory
