// SPDX-License-Identifier: Apache-2.0
#include "transports/control_layout.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

namespace railyard::transports {
namespace {

// Every field of the table, as [begin, end) in the block: none may overlap, all must fit.
TEST(ControlLayout, FieldsAreApartAndInside) {
  for (const int ranks : {1, 3, 16}) {
    for (const int slots : {1, 2, 5}) {
      const int experts = 37;
      const ControlLayout layout = ControlLayout::of(ranks, experts, slots);
      std::vector<std::byte> block(layout.bytes);
      std::map<const std::byte*, const std::byte*> fields;
      const auto add = [&](const void* begin, std::size_t bytes) {
        const auto* const first = static_cast<const std::byte*>(begin);
        EXPECT_TRUE(fields.emplace(first, first + bytes).second);
      };
      const std::size_t counts = static_cast<std::size_t>(experts + ranks) * sizeof(std::int32_t);
      for (int rank = 0; rank < ranks; ++rank) {
        add(&layout.arrived_word(block.data(), rank), ControlLayout::kLine);
        for (const Kind kind : {Kind::dispatch, Kind::combine}) {
          add(&layout.received_word(block.data(), kind, rank), ControlLayout::kLine);
          for (int slot = 0; slot < slots; ++slot) {
            add(&layout.mailbox(block.data(), kind, slot, rank),
                sizeof(Mailbox) + (kind == Kind::dispatch ? counts : 0));
          }
        }
      }
      const std::byte* end = block.data();
      for (const auto& [begin, field_end] : fields) {
        EXPECT_LE(end, begin);
        end = field_end;
      }
      EXPECT_LE(end, block.data() + layout.bytes);
    }
  }
}

}  // namespace
}  // namespace railyard::transports
