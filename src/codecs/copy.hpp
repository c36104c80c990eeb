// SPDX-License-Identifier: Apache-2.0
// Copies of one row to several places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace railyard::codecs {

/// How a large result is written. Streaming stores go past the caches: best when the bytes written by the operation
/// exceed the last-level cache, worst when somebody reads them soon.
/// Streaming stores are not ordered by a release: whoever wrote with them calls `store_fence()` in the same thread
/// before publishing the rows (a release store, a signal, a barrier). Ordinary stores need no fence.
enum class Stores : std::uint8_t { ordinary, streaming };

/// Orders this thread's earlier streaming stores before its later stores. One call after many rows is enough.
void store_fence() noexcept;

/// Where a row goes: with ordinary stores, and past the caches.
struct Destinations {
  std::span<void* const> cached;
  std::span<void* const> streamed;
};

/// Copies `bytes` from `source` to each destination; the source is read from memory once. Any alignment; no destination
/// may overlap the source or another destination.
void copy_row_to(const Destinations& destinations, const void* source, std::size_t bytes) noexcept;

}  // namespace railyard::codecs
