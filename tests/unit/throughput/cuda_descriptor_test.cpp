// SPDX-License-Identifier: Apache-2.0
#include "throughput/cuda_descriptor.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace railyard::throughput {
namespace {

using transports::Descriptor;
using transports::Operation;

const Descriptor kDispatch{.operation = Operation::dispatch, .has_weights = true, .top_k = 32, .route_id = 3};

TEST(CudaDescriptor, ReadsAsWhatWasCalled) {
  EXPECT_EQ(describe_packed(pack(kDispatch)), "dispatch(top_k=32, row_dtype=bf16, scales=none, weights=yes, route #3)");
  EXPECT_EQ(describe_packed(pack({.operation = Operation::routed_dispatch,
                                  .row_dtype = DType::fp8_e4m3,
                                  .scale_dtype = DType::fp32,
                                  .has_scales = true,
                                  .top_k = 1,
                                  .route_id = (1U << 15) + 7})),
            "dispatch along a route(top_k=1, row_dtype=fp8_e4m3, scales=fp32, weights=no, route #7)");
  EXPECT_EQ(describe_packed(pack({.operation = Operation::combine, .row_dtype = DType::fp32, .top_k = 8})),
            "combine(top_k=8, row_dtype=fp32, scales=none, weights=no, route #0)");
}

TEST(CudaDescriptor, EveryDifferenceIsOneOfTheWord) {
  std::vector<Descriptor> others(7, kDispatch);
  others[0].operation = Operation::route;
  others[1].row_dtype = DType::fp16;
  others[2].has_scales = true;
  others[3].has_weights = false;
  others[4].top_k = 31;
  others[5].route_id = 4;
  others[6].compares_all = true;
  for (const Descriptor& other : others) EXPECT_NE(pack(other), pack(kDispatch)) << transports::describe(other);
  Descriptor scaled = others[2];
  scaled.scale_dtype = DType::fp32;
  EXPECT_NE(pack(scaled), pack(others[2]));
}

TEST(CudaDescriptor, TailAndCapacityCountIfAllIsCompared) {
  Descriptor other = kDispatch;
  other.tail = Tail::zero;
  other.capacity = 100;
  EXPECT_EQ(pack(other), pack(kDispatch));
  Descriptor all = kDispatch;
  all.compares_all = true;
  other = all;
  other.tail = Tail::zero;
  EXPECT_NE(pack(other), pack(all));
  other = all;
  other.capacity = 100;
  EXPECT_NE(pack(other), pack(all));
  EXPECT_NE(describe_packed(pack(all)).find("hash of route, tail and capacity"), std::string::npos);
}

}  // namespace
}  // namespace railyard::throughput
