// SPDX-License-Identifier: Apache-2.0
// A program outside the project: two ranks, each token to two experts, outputs added up at the origin.
#include <cstdio>
#include <railyard/exchange.hpp>
#include <vector>

int main() {
  constexpr int kTokens = 4;
  constexpr int kHidden = 16;
  auto world = railyard::World::threads(2);
  world.run([](railyard::Rank& rank) {
    railyard::Group group(rank, {.num_experts = 4,
                                 .max_top_k = 2,
                                 .max_tokens = kTokens,
                                 .hidden = kHidden,
                                 .row_dtype = railyard::DType::fp32});
    const std::vector<float> x(kTokens * kHidden, 1.0F + static_cast<float>(rank.index()));
    const std::vector<int> ids{0, 2, 1, 3, 0, 1, 3, -1};  // experts 0 and 1 are rank 0's
    std::vector<float> out(x.size());

    const railyard::Dispatched in = group.dispatch({x.data(), railyard::DType::fp32, {kTokens, kHidden}},
                                                   {ids.data(), railyard::DType::int32, {kTokens, 2}});
    in.check();
    group.combine(in.rows, in.route, {out.data(), railyard::DType::fp32, {kTokens, kHidden}}).check();

    // Tokens 0 and 1 went to both ranks, 2 and 3 to one: each rank returned the row as its partial sum.
    const bool right = out[0] == 2 * x[0] && out[3 * kHidden] == x[0];
    std::printf("rank %d received %d rows: %s\n", rank.index(), static_cast<int>(in.route.num_rows()),
                right ? "right" : "wrong");
    if (!right) rank.abort("the sums are wrong");
    rank.barrier();
  });
}
