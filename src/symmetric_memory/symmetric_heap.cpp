// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/symmetric_heap.hpp"

#include <railyard/error.hpp>

#include <fmt/format.h>

#include <string>

namespace railyard::symmetric_memory {

SymmetricHeap::SymmetricHeap(bootstrap::Bootstrap& bootstrap, std::size_t bytes, std::size_t limit,
                             std::chrono::nanoseconds timeout)
    : own_rank_(static_cast<std::size_t>(bootstrap.rank())) {
  std::shared_ptr<Heap> own;
  std::string refusal;
  try {
    own = std::make_shared<Heap>(bytes, limit);
  } catch (const Error& error) {
    refusal = error.what();  // the peers wait for this rank's answer: tell them first
  }
  std::vector<Heap*> addresses(static_cast<std::size_t>(bootstrap.size()));
  Heap* const address = own.get();
  bootstrap.all_gather(&address, addresses.data(), sizeof(address), "mapping heaps", timeout);
  if (!refusal.empty()) throw Error(ErrorCode::out_of_memory, refusal);
  for (std::size_t rank = 0; rank < addresses.size(); ++rank) {
    if (!addresses[rank]) {
      throw Error(ErrorCode::out_of_memory, fmt::format("rank {} could not allocate a heap of {} bytes", rank, bytes));
    }
    heaps_.push_back(addresses[rank]->shared_from_this());
  }
  // Nobody lets go of a heap before everybody holds it.
  bootstrap.all_gather(nullptr, nullptr, 0, "mapped heaps", timeout);
}

}  // namespace railyard::symmetric_memory
