// SPDX-License-Identifier: Apache-2.0
// No kernel of an operation takes more blocks than the group was given SMs: what each submits is captured, and its
// grids are read from the graph.
#include "multi_rank/cuda_fixture.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace railyard::multi_rank {
namespace {

/// Adds the blocks of every kernel of a graph and of its child graphs.
void add_grids(cudaGraph_t graph, std::vector<std::uint64_t>& grids) {
  std::size_t count = 0;
  check(cudaGraphGetNodes(graph, nullptr, &count));
  std::vector<cudaGraphNode_t> nodes(count);
  if (count > 0) check(cudaGraphGetNodes(graph, nodes.data(), &count));
  for (const cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    check(cudaGraphNodeGetType(node, &type));
    if (type == cudaGraphNodeTypeGraph) {
      cudaGraph_t child = nullptr;
      check(cudaGraphChildGraphNodeGetGraph(node, &child));
      add_grids(child, grids);
    }
    if (type != cudaGraphNodeTypeKernel) continue;
    cudaKernelNodeParams kernel{};
    check(cudaGraphKernelNodeGetParams(node, &kernel));
    grids.push_back(std::uint64_t{kernel.gridDim.x} * kernel.gridDim.y * kernel.gridDim.z);
  }
}

/// Of what `submit` submits to the stream. Nothing of it runs.
template <typename Submit>
std::vector<std::uint64_t> grids_of(Stream stream, const Submit& submit) {
  check(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal));
  submit();
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(native(stream), &graph));
  std::vector<std::uint64_t> grids;
  add_grids(graph, grids);
  check(cudaGraphDestroy(graph));
  return grids;
}

TEST_F(Cuda, NoKernelHasMoreBlocksThanSms) {
  const std::vector<PlainRound> made = rounds(1, 1200);
  const PlainRound& plain = made.front();
  const auto body = [&](Rank& rank, const Place& place) {
    const auto r = static_cast<std::size_t>(rank.index());
    const Stream stream = backend().stream(rank.device());
    const std::int64_t hidden = scenario_.options.hidden;
    const std::int64_t tokens = plain.round.rows[r];
    for (const int num_sms : {2, 7}) {
      GroupOptions options = scenario_.options;
      options.num_sms = num_sms;
      Group group(rank, options);
      const PlainInput input(rank.device(), plain, rank.index());
      const Dispatched got = group.dispatch(input.x.view, input.ids.view, input.options, stream);
      check_plain(place, scenario_, plain, rank.index(), got);
      const Buffer encoded(rank.device(), static_cast<std::size_t>(tokens * hidden));
      const Buffer scales(rank.device(), static_cast<std::size_t>(tokens) * sizeof(float));  // hidden <= 128
      const Buffer load(rank.device(), static_cast<std::size_t>(group.local_experts()) * sizeof(std::int32_t));
      const Tensor y = group.allocate({plain.round.granted[r], hidden}, DType::bf16, stream);
      const Buffer other_y(rank.device(), static_cast<std::size_t>(plain.round.granted[r] * hidden) * 2);
      const Buffer out(rank.device(), static_cast<std::size_t>(tokens * hidden) * 2);
      const ConstTensorView encoded_view(encoded.data(), DType::fp8_e4m3, {tokens, hidden}, rank.device());
      const ConstTensorView scales_view(scales.data(), DType::fp32, {tokens, 1}, rank.device());
      const ConstTensorView other_y_view(other_y.data(), DType::bf16, {plain.round.granted[r], hidden}, rank.device());
      const TensorView out_view(out.data(), DType::bf16, {tokens, hidden}, rank.device());
      const auto at_most = [&](const std::string& what, std::size_t kernels, const auto& submit) {
        const Place here = place.at(what + " on " + std::to_string(num_sms) + " SMs");
        const std::vector<std::uint64_t> grids = grids_of(stream, submit);
        here.require(grids.size() >= kernels, std::to_string(grids.size()) + " kernels were captured");
        for (const std::uint64_t blocks : grids) {
          here.require(blocks >= 1 && blocks <= static_cast<std::uint64_t>(num_sms),
                       "a kernel has " + std::to_string(blocks) + " blocks");
        }
      };
      at_most("dispatch", 1,
              [&] { static_cast<void>(group.dispatch(input.x.view, input.ids.view, input.options, stream)); });
      at_most("dispatch that encodes", 1, [&] {
        DispatchOptions encodes = input.options;
        encodes.codec = Codec::fp8_e4m3;
        static_cast<void>(group.dispatch(input.x.view, input.ids.view, encodes, stream));
      });
      at_most("dispatch with scales", 1, [&] {
        DispatchOptions scaled = input.options;
        scaled.scales = scales_view;
        static_cast<void>(group.dispatch(encoded_view, input.ids.view, scaled, stream));
      });
      at_most("dispatch with expert_load", 2, [&] {
        DispatchOptions loaded = input.options;
        loaded.expert_load = TensorView(load.data(), DType::int32, {group.local_experts()}, rank.device());
        static_cast<void>(group.dispatch(input.x.view, input.ids.view, loaded, stream));
      });
      at_most("route", 1, [&] { static_cast<void>(group.route(input.ids.view, {}, stream)); });
      at_most("dispatch along a route", 1, [&] {
        static_cast<void>(group.dispatch(input.x.view, got.route, {.weights = input.options.weights}, stream));
      });
      at_most("dispatch along a route that encodes", 1,
              [&] { static_cast<void>(group.dispatch(input.x.view, got.route, {.codec = Codec::fp8_e4m3}, stream)); });
      at_most("combine", 1, [&] { group.combine(y, got.route, out_view, {}, stream); });
      at_most("combine of rows outside the heap", 1,
              [&] { group.combine(other_y_view, got.route, out_view, {}, stream); });
      rank.barrier();
      // Nothing of this has run: the group goes on.
      round_trip(place.at("afterwards"), group, scenario_, plain, rank.device());
    }
  };
  EXPECT_EQ(run_ranks(scenario_.ranks(), body), "");
}

}  // namespace
}  // namespace railyard::multi_rank
