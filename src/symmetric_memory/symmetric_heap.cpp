// SPDX-License-Identifier: Apache-2.0
#include "symmetric_memory/symmetric_heap.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <exception>
#include <utility>
#include <vector>

namespace railyard::symmetric_memory {

SymmetricHeap::SymmetricHeap(bootstrap::Bootstrap& bootstrap, std::size_t bytes,
                             const std::function<std::shared_ptr<Heap>()>& make, std::chrono::nanoseconds timeout)
    : own_rank_(static_cast<std::size_t>(bootstrap.rank())) {
  std::shared_ptr<Heap> own;
  std::exception_ptr refusal;
  try {
    own = make();
  } catch (const Error&) {
    refusal = std::current_exception();  // the peers wait for this rank's answer: tell them first
  }
  // Shared ownership: a rank that fails from here on lets go of its heap while others may not have looked yet.
  const std::vector<std::shared_ptr<void>> all = bootstrap.share(std::move(own), "mapping heaps", timeout);
  if (refusal) std::rethrow_exception(refusal);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank]) {
      throw Error(ErrorCode::out_of_memory,
                  diagnostics::format("rank {} could not allocate a heap of {} bytes", rank, bytes));
    }
    heaps_.push_back(std::static_pointer_cast<Heap>(all[rank]));
  }
}

}  // namespace railyard::symmetric_memory
