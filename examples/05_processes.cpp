// SPDX-License-Identifier: Apache-2.0
// One rank per process, started by a launcher: torchrun, Open MPI, Slurm, or
//   examples/launch.sh 4 build/examples/05_processes
// Every rank sends a row to every other, and gets back the sum of what their experts made of it.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <railyard/exchange.hpp>
#include <stdexcept>
#include <vector>

using railyard::ConstTensorView, railyard::DType, railyard::TensorView;

namespace {

constexpr int kHidden = 64;

void exchange(railyard::Rank& rank) {
  const int ranks = rank.world_size();  // as many experts, one on each
  railyard::Group group(
      rank, {.num_experts = ranks, .max_top_k = ranks, .max_tokens = 1, .hidden = kHidden, .row_dtype = DType::fp32});
  const std::vector<float> x(kHidden, 1.0F);
  std::vector<float> out(kHidden);
  std::vector<std::int32_t> ids;
  for (int expert = 0; expert < ranks; ++expert) ids.push_back(expert);

  auto in = group.dispatch(ConstTensorView(x.data(), DType::fp32, {1, kHidden}),
                           ConstTensorView(ids.data(), DType::int32, {1, ranks}));
  auto y = group.allocate({in.rows.size(0), kHidden}, DType::fp32);  // in the heap: peers read it in place
  for (int i = 0; i < ranks * kHidden; ++i)                          // expert number n multiplies by n + 1
    y.as<float>()[i] = static_cast<float>(rank.index() + 1) * in.rows.as<float>()[i];
  group.combine(y, in.route, TensorView(out.data(), DType::fp32, {1, kHidden})).check();

  if (out[0] != static_cast<float>(ranks * (ranks + 1)) / 2) throw std::runtime_error("wrong");
  std::printf("rank %d of %d: %g\n", rank.index(), ranks, static_cast<double>(out[0]));
}

}  // namespace

int main() try {
  railyard::World::from_environment().run(exchange);
} catch (const std::exception& error) {  // who is missing, who failed, or which variable is not set
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
