// SPDX-License-Identifier: Apache-2.0
// No operation allocates once it is warm: this program counts every call of the C library's allocator in each thread.
#include "multi_rank/plain.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

namespace {
thread_local std::uint64_t allocations = 0;
}  // namespace

extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

// operator new, in another library, ends up here too: visible from there.
#pragma GCC visibility push(default)
void* malloc(std::size_t bytes) noexcept {
  ++allocations;
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* memory, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_realloc(memory, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? 12 : 0;
}
#pragma GCC visibility pop
}

namespace railyard::multi_rank {
namespace {

TEST(Allocations, AreCounted) {
  const std::uint64_t before = allocations;
  void* const memory = ::operator new(100);  // called by name: a compiler may leave out what a new-expression allocates
  EXPECT_EQ(allocations, before + 1);
  ::operator delete(memory);
}

struct AllocationCase {
  Mode mode;
  Layout layout;
  std::optional<Codec> codec;
};

class Allocations : public ::testing::TestWithParam<AllocationCase> {};

TEST_P(Allocations, AreNoneOncePathsAreWarm) {
  Scenario scenario = plain_scenario({.ranks = 2, .tokens = 16, .hidden = 256}, GetParam().mode);
  const PlainRound plain = plain_round(scenario, 1, GetParam().layout);
  EXPECT_EQ(
      run_ranks(2,
                [&](Rank& rank, const Place& place) {
                  Group group(rank, scenario.options);
                  const PlainInput input(rank.device(), plain, rank.index());
                  DispatchOptions options = input.options;
                  options.codec = GetParam().codec;
                  const auto r = static_cast<std::size_t>(rank.index());
                  const Buffer out(rank.device(), std::size_t{16 * 256 * 2});
                  const TensorView out_view(out.data(), DType::bf16, {16, 256}, rank.device());
                  const Buffer plain_y(rank.device(), plain.round.combines.front().y[r].packed.size());
                  const ConstTensorView plain_y_view =
                      GetParam().layout == Layout::expert_slots
                          ? ConstTensorView(plain_y.data(), DType::bf16,
                                            {group.local_experts(), plain.round.granted[r], 256}, rank.device())
                          : ConstTensorView(plain_y.data(), DType::bf16, {plain.round.granted[r], 256}, rank.device());
                  const auto operate = [&] {
                    const Dispatched got = group.dispatch(input.x.view, input.ids.view, options);
                    const Dispatched cached =
                        group.dispatch(input.x.view, got.route, {.weights = options.weights, .codec = options.codec});
                    PendingDispatch pending = group.dispatch_send(input.x.view, input.ids.view, options);
                    const Dispatched received = pending.receive();
                    const Tensor y =
                        GetParam().layout == Layout::expert_slots
                            ? group.allocate({group.local_experts(), plain.round.granted[r], 256}, DType::bf16)
                            : group.allocate({plain.round.granted[r], 256}, DType::bf16);
                    CombineOptions combine;
                    if (GetParam().layout != Layout::rank_major) {
                      combine.row_weights = got.weights;
                    }
                    group.combine(y, got.route, out_view, combine);
                    group.combine_send(y, cached.route, out_view, combine).receive();
                    group.combine(plain_y_view, received.route, out_view, combine);
                  };
                  for (int i = 0; i < 8; ++i) {
                    operate();
                  }
                  const std::uint64_t before = allocations;
                  for (int i = 0; i < 20; ++i) {
                    operate();
                  }
                  const std::uint64_t after = allocations;
                  place.equal(before, after, "allocations after 20 more rounds");
                }),
      "");
}

std::vector<AllocationCase> allocation_cases() {
  std::vector<AllocationCase> cases;
  for (const Mode mode : {Mode::throughput, Mode::low_latency}) {
    for (const Layout layout : {Layout::rank_major, Layout::expert_major, Layout::expert_slots}) {
      cases.push_back({mode, layout, std::nullopt});
    }
    cases.push_back({mode, Layout::expert_major, Codec::fp8_e4m3});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Modes, Allocations, ::testing::ValuesIn(allocation_cases()), [](const auto& test) {
  std::string text(name(test.param.mode));
  text += '_';
  text += name(test.param.layout);
  if (test.param.codec) {
    text += '_';
    text += name(*test.param.codec);
  }
  return text;
});

}  // namespace
}  // namespace railyard::multi_rank
