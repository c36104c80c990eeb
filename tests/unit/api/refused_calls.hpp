// SPDX-License-Identifier: Apache-2.0
// A table of calls that are refused, and what must hold around each: the message has value and limit, nothing is sent,
// nothing stays allocated, and the next valid call works.
#pragma once

#include "multi_rank/plain.hpp"

#include <functional>
#include <string>
#include <vector>

namespace railyard::multi_rank {

/// Everything a call may need; each case changes one thing.
struct Call {
  Group* group = nullptr;
  ConstTensorView x;
  ConstTensorView ids;
  DispatchOptions dispatch;
  ConstTensorView y;
  Route route;
  TensorView out;
  CombineOptions combine;
  std::byte* memory = nullptr;  // enough for any view
  Device device;

  [[nodiscard]] ConstTensorView view(DType dtype, std::initializer_list<std::int64_t> shape) const {
    return {memory, dtype, shape, device};
  }
};

struct ArgumentCase {
  std::string what;
  std::vector<std::string> parts;
  std::function<void(Call&)> call;
};

// The group: 2 ranks, 3 experts each, max_tokens 6, top_k up to 3, hidden 24, rows up to bf16, 5 tokens given.
/// Makes every call at both ranks of one group, then valid ones.
void refuse_all(Mode mode, const std::vector<ArgumentCase>& cases);

}  // namespace railyard::multi_rank
