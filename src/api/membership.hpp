// SPDX-License-Identifier: Apache-2.0
// Who is part of a group, and how those that are left agree on who goes on
// (docs/design/0005-survivors-agree-and-rebuild.md).
#pragma once

#include "bootstrap/bootstrap.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace railyard::api {

/// What a rank brings to the assembly that decides who goes on. The largest of each is what all go on with, of what was
/// finished the smallest.
struct Standing {
  std::uint64_t next_epoch = 0;
  std::uint64_t next_route = 0;
  std::uint64_t heap_bytes = 0;  // a growth may have ended on some ranks alone
  std::uint64_t dispatches = 0;
  std::uint64_t combines = 0;
  std::uint64_t generation = 0;  // that is decided
  std::uint64_t joins = 0;       // 1: masked so far; then all but the first three mean nothing
};

/// One rank's view.
class Membership {
 public:
  /// Of all ranks of the world.
  Membership(int rank, std::shared_ptr<bootstrap::Bootstrap> world);

  /// Collective, of all ranks, when everything of the group is ready: gives it a name in its world.
  void create(std::chrono::nanoseconds timeout);

  /// Ascending.
  [[nodiscard]] const std::vector<int>& ranks() const noexcept { return ranks_; }
  [[nodiscard]] std::vector<int> masked() const;

  /// From now on `end` is raised when a member has gone, `world_abort` is, or somebody calls the next assembly.
  void watch(const std::shared_ptr<bootstrap::AbortFlag>& end,
             const std::shared_ptr<bootstrap::AbortFlag>& world_abort);
  void stop_watching() { watches_.clear(); }
  /// What watches, for somebody who outlives this.
  [[nodiscard]] std::vector<std::shared_ptr<void>> hand_over_watches() { return std::exchange(watches_, {}); }

  struct Decision {
    Standing agreed;
    bool aligned = true;  // all had finished the same
  };
  /// The survivors' decision, with this rank as one that was masked if it `joins`. Those whom it calls are told why.
  /// Whoever is part of it knows its generation, whatever fails afterwards: the next attempt is a decision of those who
  /// took part in this one. Throws as Bootstrap::assemble.
  [[nodiscard]] Decision agree(Standing mine, bool joins, std::string_view why, std::chrono::nanoseconds timeout,
                               bootstrap::AbortFlag& end);

  /// The members' own collectives, in this generation.
  [[nodiscard]] std::shared_ptr<bootstrap::Bootstrap> make_bootstrap(
      const std::shared_ptr<bootstrap::AbortFlag>& end) const;

 private:
  [[nodiscard]] std::string name_in_world() const;
  [[nodiscard]] std::string key_of(std::uint64_t generation) const;

  const int rank_;
  const std::shared_ptr<bootstrap::Bootstrap> world_;
  std::vector<int> ranks_;
  std::uint64_t number_ = 0;      // of the group, in its world
  std::uint64_t generation_ = 0;  // counts the decisions who goes on
  std::vector<std::shared_ptr<void>> watches_;
};

}  // namespace railyard::api
