// SPDX-License-Identifier: Apache-2.0
// A validated call of combine, whichever device carries it out.
#pragma once

#include <railyard/combine.hpp>
#include <railyard/route.hpp>
#include <railyard/tensor.hpp>

namespace railyard::transports {

struct CombineRequest {
  ConstTensorView y;
  Route route;
  TensorView out;
  CombineOptions options;
};

}  // namespace railyard::transports
