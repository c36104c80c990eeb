// SPDX-License-Identifier: Apache-2.0
// Ranks that MPI has started and brought together: it carries one small message, then Railyard has connections of its
// own.
//   mpirun -n 4 build/examples/06_mpi
#include <mpi.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <railyard/exchange.hpp>
#include <stdexcept>
#include <vector>

using railyard::ConstTensorView, railyard::DType;

namespace {

constexpr int kHidden = 8;

// Token t of every rank goes to the expert of rank t.
void exchange(railyard::Rank& rank) {
  const int ranks = rank.world_size();
  railyard::Group group(rank, {.num_experts = ranks, .max_top_k = 1, .max_tokens = ranks, .hidden = kHidden});
  const std::vector<std::uint16_t> x(static_cast<std::size_t>(ranks * kHidden), 0x3F80);  // 1.0 in bf16
  std::vector<std::int32_t> ids(static_cast<std::size_t>(ranks));
  std::iota(ids.begin(), ids.end(), 0);
  auto in = group.dispatch(ConstTensorView(x.data(), DType::bf16, {ranks, kHidden}),
                           ConstTensorView(ids.data(), DType::int32, {ranks, 1}));
  if (in.route.num_rows() != ranks) throw std::runtime_error("wrong");
  std::printf("rank %d of %d: a row from each\n", rank.index(), ranks);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  try {
    const auto all_gather = [](const void* mine, void* all, std::size_t bytes) {
      MPI_Allgather(mine, static_cast<int>(bytes), MPI_BYTE, all, static_cast<int>(bytes), MPI_BYTE, MPI_COMM_WORLD);
    };
    railyard::World::from_all_gather(rank, size, all_gather).run(exchange);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
}
