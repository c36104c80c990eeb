// SPDX-License-Identifier: Apache-2.0
#include "api/group_state.hpp"

#include <railyard/combine.hpp>
#include <railyard/dispatch.hpp>

#include <utility>

namespace railyard {

PendingDispatch::PendingDispatch(std::shared_ptr<GroupState> group, std::uint64_t ticket) noexcept
    : group_(std::move(group)), ticket_(ticket) {
  group_->hold_part();
}
PendingDispatch::PendingDispatch(PendingDispatch&& other) noexcept
    : group_(std::move(other.group_)), ticket_(other.ticket_) {}
PendingDispatch& PendingDispatch::operator=(PendingDispatch&& other) noexcept {
  if (this != &other) {
    if (group_) group_->abandon_dispatch(ticket_);
    group_ = std::move(other.group_);
    ticket_ = other.ticket_;
  }
  return *this;
}
PendingDispatch::~PendingDispatch() {
  if (group_) group_->abandon_dispatch(ticket_);
}
Dispatched PendingDispatch::receive(Stream stream) {
  if (!group_) throw Error(ErrorCode::destroyed, "a pending dispatch was received twice, or moved from");
  Dispatched result = group_->receive_dispatch(ticket_, stream);
  group_->release_part();
  group_.reset();
  return result;
}

PendingCombine::PendingCombine(std::shared_ptr<GroupState> group, std::uint64_t ticket) noexcept
    : group_(std::move(group)), ticket_(ticket) {
  group_->hold_part();
}
PendingCombine::PendingCombine(PendingCombine&& other) noexcept
    : group_(std::move(other.group_)), ticket_(other.ticket_) {}
PendingCombine& PendingCombine::operator=(PendingCombine&& other) noexcept {
  if (this != &other) {
    if (group_) group_->abandon_combine(ticket_);
    group_ = std::move(other.group_);
    ticket_ = other.ticket_;
  }
  return *this;
}
PendingCombine::~PendingCombine() {
  if (group_) group_->abandon_combine(ticket_);
}
Combined PendingCombine::receive(Stream stream) {
  if (!group_) throw Error(ErrorCode::destroyed, "a pending combine was received twice, or moved from");
  Combined result = group_->receive_combine(ticket_, stream);
  group_->release_part();
  group_.reset();
  return result;
}

}  // namespace railyard
