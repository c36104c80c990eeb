// SPDX-License-Identifier: Apache-2.0
#include "api/membership.hpp"

#include "bootstrap/member_bootstrap.hpp"
#include "diagnostics/format.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

namespace railyard::api {
namespace {

std::uint64_t random_number() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace

Membership::Membership(int rank, std::shared_ptr<bootstrap::Bootstrap> world)
    : rank_(rank), world_(std::move(world)), ranks_(static_cast<std::size_t>(world_->size())) {
  std::iota(ranks_.begin(), ranks_.end(), 0);
}

// Rank 0's number is the group's.
void Membership::create(std::chrono::nanoseconds timeout) {
  const std::uint64_t mine = random_number();
  std::vector<std::uint64_t> numbers(ranks_.size());
  world_->all_gather(&mine, numbers.data(), sizeof(mine), "created a group", timeout);
  number_ = numbers.front();
}

std::vector<int> Membership::masked() const {
  std::vector<int> masked;
  for (int other = 0; other < world_->size(); ++other) {
    if (!std::ranges::binary_search(ranks_, other)) masked.push_back(other);
  }
  return masked;
}

std::string Membership::name_in_world() const { return diagnostics::format("group {:016x}", number_); }

std::string Membership::key_of(std::uint64_t generation) const {
  return diagnostics::format("{}, generation {}", name_in_world(), generation);
}

void Membership::watch(const std::shared_ptr<bootstrap::AbortFlag>& end,
                       const std::shared_ptr<bootstrap::AbortFlag>& world_abort) {
  const auto watch = [&](const std::shared_ptr<bootstrap::AbortFlag>& flag) {
    if (!flag) return;
    watches_.push_back(flag->watch([end](const std::string& reason) { end->raise(reason); }));
    watches_.push_back(flag);
  };
  watch(world_abort);
  for (const int member : ranks_) {
    if (member != rank_) watch(world_->departure_flag(member));
  }
  watch(world_->call_flag(key_of(generation_ + 1)));  // last: a departure that led to it says more
}

Membership::Decision Membership::agree(Standing mine, bool joins, std::string_view why,
                                       std::chrono::nanoseconds timeout, bootstrap::AbortFlag& end) {
  mine.generation = generation_ + 1;
  mine.joins = joins ? 1 : 0;
  const auto* const bytes = reinterpret_cast<const std::byte*>(&mine);
  const bootstrap::Attendance came = world_->assemble(
      {.purpose = diagnostics::format("rank {}: {}", rank_, joins ? "rejoin" : "recover"),
       .key = joins ? diagnostics::format("{}, rank {} joins", name_in_world(), rank_) : key_of(generation_ + 1),
       .members = joins ? std::vector<int>{rank_} : ranks_,
       .quorum = joins ? bootstrap::Quorum::join : bootstrap::Quorum::majority,
       .group = name_in_world(),
       .reason = std::string(why.substr(0, bootstrap::kMaxReasonBytes)),
       .block = {bytes, bytes + sizeof(mine)}},
      timeout, end);
  ranks_ = came.ranks;
  Decision decision;
  Standing& agreed = decision.agreed;
  bool first = true;
  for (const std::vector<std::byte>& block : came.blocks) {
    Standing other;
    std::memcpy(&other, block.data(), std::min(block.size(), sizeof(other)));
    agreed.next_epoch = std::max(agreed.next_epoch, other.next_epoch);
    agreed.next_route = std::max(agreed.next_route, other.next_route);
    agreed.heap_bytes = std::max(agreed.heap_bytes, other.heap_bytes);
    if (other.joins != 0) continue;
    generation_ = other.generation;
    if (std::exchange(first, false)) {
      agreed.dispatches = other.dispatches;
      agreed.combines = other.combines;
    }
    decision.aligned = decision.aligned && other.dispatches == agreed.dispatches && other.combines == agreed.combines;
    agreed.dispatches = std::min(agreed.dispatches, other.dispatches);
    agreed.combines = std::min(agreed.combines, other.combines);
  }
  return decision;
}

std::shared_ptr<bootstrap::Bootstrap> Membership::make_bootstrap(
    const std::shared_ptr<bootstrap::AbortFlag>& end) const {
  return bootstrap::make_member_bootstrap(world_, ranks_, key_of(generation_), end);
}

}  // namespace railyard::api
