// SPDX-License-Identifier: Apache-2.0
// Four ranks exchange tokens with eight experts and get the weighted results back.
#include <cstdio>
#include <railyard/exchange.hpp>
#include <vector>

using railyard::ConstTensorView, railyard::DType, railyard::TensorView;

int main() {
  constexpr int kTokens = 16, kHidden = 64, kTopK = 2, kExperts = 8;
  auto world = railyard::World::threads(4);
  world.run([&](railyard::Rank& rank) {
    railyard::Group group(rank, {.num_experts = kExperts,
                                 .max_top_k = kTopK,
                                 .max_tokens = kTokens,
                                 .hidden = kHidden,
                                 .row_dtype = DType::fp32});
    const std::vector<float> x(kTokens * kHidden, 1.0F);
    const std::vector<float> weights(kTokens * kTopK, 0.5F);
    std::vector<float> out(kTokens * kHidden);
    std::vector<std::int32_t> ids;  // token t asks expert t and the one three further
    for (int t = 0; t < kTokens; ++t) ids.insert(ids.end(), {t % kExperts, (t + 3) % kExperts});

    // Rows come grouped by expert; this rank's experts are 2 * rank and 2 * rank + 1.
    auto in = group.dispatch(ConstTensorView(x.data(), DType::fp32, {kTokens, kHidden}),
                             ConstTensorView(ids.data(), DType::int32, {kTokens, kTopK}),
                             {.weights = ConstTensorView(weights.data(), DType::fp32, {kTokens, kTopK}),
                              .layout = railyard::Layout::expert_major});
    auto y = group.allocate({in.rows.size(0), kHidden}, DType::fp32);  // in the heap: combine reads it in place
    const auto first_row = in.route.expert_offsets().as<std::int32_t>();
    for (int e = 0; e < group.local_experts(); ++e)  // expert number n multiplies by n
      for (int i = first_row[e] * kHidden; i < first_row[e + 1] * kHidden; ++i)
        y.as<float>()[i] = static_cast<float>(2 * rank.index() + e) * in.rows.as<float>()[i];
    group.combine(y, in.route, TensorView(out.data(), DType::fp32, {kTokens, kHidden}), {.row_weights = in.weights})
        .check();

    for (int t = 0; t < kTokens; ++t)  // the mean of the two experts' numbers
      if (out[t * kHidden] != 0.5F * static_cast<float>(t % kExperts + (t + 3) % kExperts))
        throw std::runtime_error("wrong");
  });
  std::puts("every token came back right");
}
