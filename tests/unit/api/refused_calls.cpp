// SPDX-License-Identifier: Apache-2.0
#include "unit/api/refused_calls.hpp"

#include <gtest/gtest.h>

#include <array>

namespace railyard::multi_rank {

void refuse_all(Mode mode, const std::vector<ArgumentCase>& cases) {
  Scenario scenario = plain_scenario({.ranks = 2, .experts_per_rank = 3}, mode);
  const PlainRound plain = plain_round(scenario, 1, Layout::expert_major);
  EXPECT_EQ(
      run_ranks(2,
                [&](Rank& rank, const Place& outer) {
                  Group group(rank, scenario.options);
                  const Buffer memory(rank.device(), std::size_t{1} << 18, 0, std::byte{0});
                  Call valid;
                  valid.group = &group;
                  valid.memory = static_cast<std::byte*>(memory.data());
                  valid.device = rank.device();
                  valid.x = valid.view(DType::bf16, {5, 24});
                  const Buffer ids(rank.device(), std::size_t{5 * 3 * 4});
                  const std::array<std::int32_t, 15> experts = {0, 1, 3, 5, 4, 2, 1, 5, -1, 2, 3, 0, -1, -1, -1};
                  ids.upload(experts.data(), ids.bytes());
                  valid.ids = ConstTensorView(ids.data(), DType::int32, {5, 3}, rank.device());
                  valid.route = group.route(valid.ids, {.layout = Layout::expert_major});
                  const Tensor y = group.allocate({valid.route.capacity(), 24}, DType::bf16);
                  valid.y = y;
                  const Buffer out(rank.device(), std::size_t{5 * 24 * 2});
                  valid.out = TensorView(out.data(), DType::bf16, {5, 24}, rank.device());
                  const std::uint64_t dispatches = group.statistics().dispatches;
                  const std::size_t in_use = group.statistics().heap_bytes_in_use;
                  for (const ArgumentCase& bad : cases) {
                    Call call = valid;
                    expect_error(outer.at(bad.what), ErrorCode::invalid_argument, bad.parts, [&] { bad.call(call); });
                    outer.at(bad.what).equal(in_use, group.statistics().heap_bytes_in_use, "bytes in use afterwards");
                  }
                  outer.equal(dispatches, group.statistics().dispatches, "dispatches after refused calls");
                  outer.equal(std::uint64_t{0}, group.statistics().combines, "combines after refused calls");
                  group.combine(valid.y, valid.route, valid.out).check();
                  round_trip(outer, group, scenario, plain, rank.device());
                }),
      "");
}

}  // namespace railyard::multi_rank
