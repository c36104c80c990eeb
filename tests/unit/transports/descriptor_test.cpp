// SPDX-License-Identifier: Apache-2.0
#include "transports/descriptor.hpp"

#include <gtest/gtest.h>

namespace railyard::transports {
namespace {

TEST(Descriptor, SaysWhatWasCalled) {
  Descriptor descriptor{.operation = Operation::dispatch,
                        .layout = Layout::expert_major,
                        .row_dtype = DType::fp8_e4m3,
                        .scale_dtype = DType::fp32,
                        .has_scales = true,
                        .has_weights = true,
                        .top_k = 8,
                        .alignment = 128,
                        .route_id = 4};
  EXPECT_EQ(describe(descriptor),
            "dispatch(layout=expert_major, top_k=8, alignment=128, row_dtype=fp8_e4m3, scales=fp32, weights=yes, "
            "route #4)");
  descriptor.compares_all = true;
  descriptor.capacity = 77;
  descriptor.tail = Tail::poison;
  EXPECT_NE(describe(descriptor).find("capacity=77, tail=poison"), std::string::npos);
}

TEST(Descriptor, EveryFieldCounts) {
  const Descriptor base;
  Descriptor other = base;
  other.route_id = 1;
  EXPECT_NE(base, other);
  other = base;
  other.capacity = 1;
  EXPECT_NE(base, other);
  other = base;
  other.has_scales = true;
  EXPECT_NE(base, other);
}

}  // namespace
}  // namespace railyard::transports
