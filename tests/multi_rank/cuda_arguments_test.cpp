// SPDX-License-Identifier: Apache-2.0
// Pointers and streams that a rank on a GPU cannot use are refused before anything is sent, and the text names which.
#include "cli/bench/cuda_green_context.hpp"
#include "multi_rank/cuda_fixture.hpp"

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

constexpr std::size_t kBytes = 4096;  // enough for any argument here

struct BadMemory {
  std::string what;
  std::shared_ptr<void> data;
  std::vector<std::string> parts;  // of the message, beside the argument's name
};

int visible_devices() {
  int devices = 0;
  check(cudaGetDeviceCount(&devices));
  return devices;
}

std::shared_ptr<void> on_device(int device, int back_to) {
  void* memory = nullptr;
  check(cudaSetDevice(device));
  check(cudaMalloc(&memory, kBytes));
  check(cudaSetDevice(back_to));
  return {memory, [](void* freed) { static_cast<void>(cudaFree(freed)); }};
}

std::shared_ptr<void> managed() {
  void* memory = nullptr;
  check(cudaMallocManaged(&memory, kBytes));
  return {memory, [](void* freed) { static_cast<void>(cudaFree(freed)); }};
}

std::shared_ptr<void> pinned() {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, kBytes));
  return {memory, [](void* freed) { static_cast<void>(cudaFreeHost(freed)); }};
}

std::vector<BadMemory> bad_memory(int device) {
  std::vector<BadMemory> all;
  const std::string elsewhere = "is not in device memory";
  all.push_back({"managed memory", managed(), {elsewhere}});
  all.push_back({"pinned memory", pinned(), {elsewhere}});
  all.push_back({"memory of the host", std::make_shared<std::vector<std::byte>>(kBytes), {elsewhere}});
  all.back().data = {all.back().data, static_cast<std::vector<std::byte>*>(all.back().data.get())->data()};
  if (const int devices = visible_devices(); devices > 1) {
    const int other = (device + 1) % devices;
    all.push_back({"memory of another GPU", on_device(other, device), {"lies on cuda:" + std::to_string(other)}});
  } else {
    std::cerr << "skipped: memory and streams of another GPU, since this process sees one\n";
  }
  return all;
}

TEST_F(Cuda, MemoryThatIsNotTheRanksGpusIsRefusedByName) {
  const std::vector<PlainRound> made = rounds(1, 1500);
  const PlainRound& plain = made.front();
  const auto body = [&](Rank& rank, const Place& place) {
    const auto r = static_cast<std::size_t>(rank.index());
    const Device device = rank.device();
    const Stream stream = backend().stream(device);
    // Before any kernel runs: taking memory may wait for them.
    const std::vector<BadMemory> bad = bad_memory(device.index);
    Group group(rank, scenario_.options);
    const PlainInput input(device, plain, rank.index());
    const std::int64_t hidden = scenario_.options.hidden;
    const std::int64_t tokens = plain.round.rows[r];
    const std::int64_t capacity = plain.round.granted[r];
    const int top_k = plain.round.top_k;
    const Buffer encoded(device, static_cast<std::size_t>(tokens * hidden));
    const Buffer out(device, static_cast<std::size_t>(tokens * hidden) * 2);
    const ConstTensorView encoded_view(encoded.data(), DType::fp8_e4m3, {tokens, hidden}, device);
    const TensorView out_view(out.data(), DType::bf16, {tokens, hidden}, device);
    const Tensor y = group.allocate({capacity, hidden}, DType::bf16, stream);
    rank.barrier();
    const Route route = group.route(input.ids.view, {}, stream);
    route.check();

    const auto dispatch = [&](const ConstTensorView& x, const ConstTensorView& ids, const DispatchOptions& options) {
      static_cast<void>(group.dispatch(x, ids, options, stream));
    };
    struct Argument {
      std::string name;
      std::function<void(void*)> call;
    };
    const std::vector<Argument> arguments = {
        {"x",
         [&](void* data) {
           dispatch(ConstTensorView(data, DType::bf16, {tokens, hidden}, device), input.ids.view, input.options);
         }},
        {"top_k_ids",
         [&](void* data) {
           dispatch(input.x.view, ConstTensorView(data, DType::int32, {tokens, top_k}, device), input.options);
         }},
        {"weights",
         [&](void* data) {
           DispatchOptions options = input.options;
           options.weights = ConstTensorView(data, DType::fp32, {tokens, top_k}, device);
           dispatch(input.x.view, input.ids.view, options);
         }},
        {"scales",
         [&](void* data) {
           DispatchOptions options = input.options;
           options.scales = ConstTensorView(data, DType::fp32, {tokens, 1}, device);
           dispatch(encoded_view, input.ids.view, options);
         }},
        {"num_tokens",
         [&](void* data) {
           DispatchOptions options = input.options;
           options.num_tokens = static_cast<const std::int32_t*>(data);
           dispatch(input.x.view, input.ids.view, options);
         }},
        {"expert_load",
         [&](void* data) {
           DispatchOptions options = input.options;
           options.expert_load = TensorView(data, DType::int32, {group.local_experts()}, device);
           dispatch(input.x.view, input.ids.view, options);
         }},
        {"y",
         [&](void* data) {
           group.combine(ConstTensorView(data, DType::bf16, {capacity, hidden}, device), route, out_view, {}, stream);
         }},
        {"out",
         [&](void* data) {
           group.combine(y, route, TensorView(data, DType::bf16, {tokens, hidden}, device), {}, stream);
         }},
        {"a bias",
         [&](void* data) {
           const ConstTensorView bias(data, DType::bf16, {tokens, hidden}, device);
           group.combine(y, route, out_view, {.bias = {bias}}, stream);
         }},
    };
    for (const Argument& argument : arguments) {
      for (const BadMemory& memory : bad) {
        std::vector<std::string> parts = memory.parts;
        parts.push_back(argument.name + " ");
        parts.push_back("rank " + std::to_string(rank.index()) + " is on cuda:" + std::to_string(device.index));
        expect_error(place.at(argument.name + " in " + memory.what), ErrorCode::invalid_argument, parts,
                     [&] { argument.call(memory.data.get()); });
      }
      // `out` is large enough for any of these, by its size alone; one byte past an element's start.
      expect_error(place.at(argument.name + " between elements"), ErrorCode::invalid_argument,
                   {argument.name + " ", "1 bytes past a multiple of"},
                   [&] { argument.call(static_cast<std::byte*>(out.data()) + 1); });
    }
    // Nothing of this was sent: the group goes on.
    round_trip(place.at("afterwards"), group, scenario_, plain, device);
    rank.barrier();  // freeing memory may wait for the peers' kernels
  };
  EXPECT_EQ(run_ranks(scenario_.ranks(), body), "");
}

TEST_F(Cuda, AYBehindItsLeaseIsRefused) {
  const std::vector<PlainRound> made = rounds(1, 1600);
  const PlainRound& plain = made.front();
  const auto body = [&](Rank& rank, const Place& place) {
    const auto r = static_cast<std::size_t>(rank.index());
    const Stream stream = backend().stream(rank.device());
    const std::int64_t hidden = scenario_.options.hidden;
    const std::int64_t capacity = plain.round.granted[r];
    Group group(rank, scenario_.options);
    const PlainInput input(rank.device(), plain, rank.index());
    const Route route = group.route(input.ids.view, {}, stream);
    const Buffer out(rank.device(), static_cast<std::size_t>(plain.round.rows[r] * hidden) * 2);
    const TensorView out_view(out.data(), DType::bf16, {plain.round.rows[r], hidden}, rank.device());
    const Tensor y = group.allocate({1, hidden}, DType::bf16, stream);
    const std::string wanted = std::to_string(capacity * hidden * 2) + " bytes";
    const std::string leased = "has " + std::to_string(y.lease().bytes());
    expect_error(place, ErrorCode::invalid_argument, {"y lies in the heap", wanted, leased}, [&] {
      group.combine(ConstTensorView(y.data(), DType::bf16, {capacity, hidden}, rank.device()), route, out_view, {},
                    stream);
    });
    round_trip(place.at("afterwards"), group, scenario_, plain, rank.device());
  };
  EXPECT_EQ(run_ranks(scenario_.ranks(), body), "");
}

TEST_F(Cuda, AStreamOfAnotherGpuIsRefused) {
  const std::vector<PlainRound> made = rounds(1, 1700);
  const auto body = [&](Rank& rank, const Place& place) {
    const int here = rank.device().index;
    const int devices = visible_devices();
    if (devices < 2) {
      std::cerr << "skipped: a stream of another GPU, since this process sees one\n";
      return;
    }
    const int other = (here + 1) % devices;
    check(cudaSetDevice(other));
    const Stream foreign = new_stream();
    check(cudaSetDevice(here));
    const Stream own = new_stream();
    Group group(rank, scenario_.options);
    const PlainInput input(rank.device(), made.front(), rank.index());
    expect_error(place, ErrorCode::invalid_argument,
                 {"a stream of cuda:" + std::to_string(other),
                  "rank " + std::to_string(rank.index()) + " is on cuda:" + std::to_string(here)},
                 [&] { static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options, foreign)); });
    const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, own);
    got.check();
    check_plain(place.at("afterwards"), scenario_, made.front(), rank.index(), got);
  };
  EXPECT_EQ(run_ranks(scenario_.ranks(), body), "");
}

// A green context has a part of the SMs: its number counts, not the device's.
TEST_F(Cuda, MoreSmsThanTheCurrentContextHasAreRefused) {
  scenario_ = plain_scenario({.ranks = 1, .experts_per_rank = 4}, Mode::throughput);
  const std::vector<PlainRound> made = rounds(1, 1800);
  const auto body = [&](Rank& rank, const Place& place) {
    int all = 0;
    check(cudaDeviceGetAttribute(&all, cudaDevAttrMultiProcessorCount, rank.device().index));
    std::unique_ptr<cli::bench::GreenContext> part;
    try {
      part = std::make_unique<cli::bench::GreenContext>(rank.device().index, all - 16);
    } catch (const Error& error) {
      std::cerr << "skipped: no green context: " << error.what() << '\n';
      return;
    }
    GroupOptions options = scenario_.options;
    options.num_sms = part->sms() + 1;
    {
      const cli::bench::GreenContext::Use use(*part);
      expect_error(
          place, ErrorCode::unsupported,
          {"wants " + std::to_string(part->sms() + 1) + " SMs", "has " + std::to_string(part->sms()) + " with"},
          [&] { const Group refused(rank, options); });
    }
    Group group(rank, options);
    round_trip(place.at("outside the context"), group, scenario_, made.front(), rank.device());
  };
  EXPECT_EQ(run_ranks(1, body), "");
}

}  // namespace
}  // namespace railyard::multi_rank
