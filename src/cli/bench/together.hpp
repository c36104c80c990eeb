// SPDX-License-Identifier: Apache-2.0
// What the ranks of a world have in common, whether they are threads of this process or processes of this machine.
#pragma once

#include <railyard/world.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace railyard::cli::bench {

/// Zeroed memory of rank 0's process that all ranks see. Its constructor is a collective of all processes.
class SharedMemory {
 public:
  SharedMemory(World& world, std::size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  [[nodiscard]] void* data() const noexcept { return data_; }

 private:
  std::size_t bytes_;
  void* data_;
};

/// One object for all ranks, made in place by every process before any uses it: of types that let this happen.
template <typename Value>
class Shared {
 public:
  template <typename... Arguments>
  explicit Shared(World& world, Arguments&&... arguments)
      : memory_(world, sizeof(Value)), value_(new (memory_.data()) Value(std::forward<Arguments>(arguments)...)) {
    static_assert(std::is_trivially_destructible_v<Value>);
    meet(world);
  }
  [[nodiscard]] Value& operator*() const noexcept { return *value_; }
  [[nodiscard]] Value* operator->() const noexcept { return value_; }

 private:
  static void meet(World& world) {
    world.run([](Rank& rank) { rank.barrier(); });
  }

  SharedMemory memory_;
  Value* value_;
};

/// `table` has a block of `bytes` for each rank; a process has filled its own ranks' and gets the others'.
void gather_by_rank(World& world, void* table, std::size_t bytes);

/// The same for a vector with equally many values of each rank.
template <typename Value>
void gather_by_rank(World& world, std::vector<Value>& table) {
  gather_by_rank(world, table.data(), table.size() / static_cast<std::size_t>(world.size()) * sizeof(Value));
}

/// Whether it holds in every process.
[[nodiscard]] bool holds_everywhere(World& world, bool holds_here);

}  // namespace railyard::cli::bench
