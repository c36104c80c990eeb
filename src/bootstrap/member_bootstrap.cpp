// SPDX-License-Identifier: Apache-2.0
#include "bootstrap/member_bootstrap.hpp"

#include "diagnostics/format.hpp"

#include <railyard/error.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

namespace railyard::bootstrap {
namespace {

class MemberBootstrap final : public Bootstrap {
 public:
  MemberBootstrap(std::shared_ptr<Bootstrap> world, std::vector<int> members, std::string key,
                  std::shared_ptr<AbortFlag> end)
      : world_(std::move(world)),
        members_(std::move(members)),
        key_(std::move(key)),
        end_(std::move(end)),
        rank_(static_cast<int>(std::ranges::lower_bound(members_, world_->rank()) - members_.begin())) {}

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return static_cast<int>(members_.size()); }
  [[nodiscard]] int rank_in_world(int rank) const override { return members_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] bool one_process() const noexcept override { return world_->one_process(); }

  void all_gather(const void* mine, void* all, std::size_t bytes, std::string_view purpose,
                  std::chrono::nanoseconds timeout) override {
    const auto* const data = static_cast<const std::byte*>(mine);
    const Attendance came = meet({data, data + bytes}, nullptr, purpose, timeout);
    auto* to = static_cast<std::byte*>(all);
    for (std::size_t index = 0; index < came.ranks.size(); ++index) {
      const std::vector<std::byte>& block = came.blocks[index];
      if (block.size() != bytes) {
        throw Error(ErrorCode::operation_mismatch,
                    diagnostics::format("this rank called {} with {} bytes, rank {} a collective with {} bytes",
                                        purpose, bytes, came.ranks[index], block.size()));
      }
      if (bytes > 0) std::memcpy(to, block.data(), bytes);
      to += bytes;
    }
  }

  std::vector<std::shared_ptr<void>> share(std::shared_ptr<void> mine, std::string_view purpose,
                                           std::chrono::nanoseconds timeout) override {
    if (!one_process()) return world_->share(std::move(mine), purpose, timeout);  // refuses it
    return meet({}, std::move(mine), purpose, timeout).objects;
  }

  void abort(std::string_view reason) override { end_->raise(reason); }
  [[nodiscard]] const std::shared_ptr<AbortFlag>& abort_flag() const noexcept override { return end_; }

 private:
  Attendance meet(std::vector<std::byte> block, std::shared_ptr<void> object, std::string_view purpose,
                  std::chrono::nanoseconds timeout) {
    Attendance came = world_->assemble({.purpose = std::string(purpose),
                                        .key = diagnostics::format("{}, collective {}", key_, sequence_),
                                        .members = members_,
                                        .quorum = Quorum::all,
                                        .block = std::move(block),
                                        .object = std::move(object)},
                                       timeout, *end_);
    ++sequence_;
    return came;
  }

  const std::shared_ptr<Bootstrap> world_;
  const std::vector<int> members_;
  const std::string key_;
  const std::shared_ptr<AbortFlag> end_;
  const int rank_;
  std::uint64_t sequence_ = 0;  // of completed collectives
};

}  // namespace

std::shared_ptr<Bootstrap> make_member_bootstrap(std::shared_ptr<Bootstrap> world, std::vector<int> members,
                                                 std::string key, std::shared_ptr<AbortFlag> end) {
  return std::make_shared<MemberBootstrap>(std::move(world), std::move(members), std::move(key), std::move(end));
}

}  // namespace railyard::bootstrap
