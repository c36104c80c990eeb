// SPDX-License-Identifier: Apache-2.0
#include "transports/control_layout.hpp"

namespace railyard::transports {
namespace {

std::size_t round_up_to_line(std::size_t bytes) {
  return (bytes + ControlLayout::kLine - 1) / ControlLayout::kLine * ControlLayout::kLine;
}

std::uint64_t& word(std::byte* base, std::size_t offset, int index) {
  return *reinterpret_cast<std::uint64_t*>(base + offset + static_cast<std::size_t>(index) * ControlLayout::kLine);
}

}  // namespace

ControlLayout ControlLayout::of(int num_ranks, int num_experts, int num_slots) {
  const auto ranks = static_cast<std::size_t>(num_ranks);
  const auto slots = static_cast<std::size_t>(num_slots);
  ControlLayout layout{};
  layout.num_ranks = num_ranks;
  layout.num_counts = num_experts + num_ranks;
  layout.num_slots = num_slots;
  const std::size_t counts_bytes = static_cast<std::size_t>(layout.num_counts) * sizeof(std::int32_t);
  std::size_t end = 0;
  const auto append = [&end](std::size_t size) {
    const std::size_t offset = end;
    end += size;
    return offset;
  };
  for (int kind = 0; kind < kNumKinds; ++kind) {
    const bool has_counts = kind == static_cast<int>(Kind::dispatch);
    layout.mailbox_bytes[kind] = round_up_to_line(sizeof(Mailbox) + (has_counts ? counts_bytes : 0));
    layout.mailboxes[kind] = append(slots * ranks * layout.mailbox_bytes[kind]);
    layout.received[kind] = append(ranks * kLine);
  }
  layout.arrived = append(ranks * kLine);
  layout.bytes = end;
  return layout;
}

Mailbox& ControlLayout::mailbox(std::byte* base, Kind kind, int slot, int source) const noexcept {
  const auto index =
      static_cast<std::size_t>(slot) * static_cast<std::size_t>(num_ranks) + static_cast<std::size_t>(source);
  const auto k = static_cast<std::size_t>(kind);
  return *reinterpret_cast<Mailbox*>(base + mailboxes[k] + index * mailbox_bytes[k]);
}

std::uint64_t& ControlLayout::arrived_word(std::byte* base, int source) const noexcept {
  return word(base, arrived, source);
}

std::uint64_t& ControlLayout::received_word(std::byte* base, Kind kind, int peer) const noexcept {
  return word(base, received[static_cast<std::size_t>(kind)], peer);
}

}  // namespace railyard::transports
