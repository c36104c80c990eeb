// SPDX-License-Identifier: Apache-2.0
// A router on the host: scores, bias correction, group-limited top-k, normalised weights (DeepSeek-V3,
// arXiv:2412.19437, section 2.1.2; softmax scores without groups are the classic top-k gate).
#pragma once

#include <railyard/export.hpp>
#include <railyard/tensor.hpp>

#include <cstdint>

namespace railyard {

enum class GateScore : std::uint8_t { softmax, sigmoid };

struct GateOptions {
  int top_k = 0;  // in [1, experts], at most 32
  GateScore score = GateScore::sigmoid;
  int num_groups = 1;     // experts are split into this many equal groups
  int top_k_groups = 1;   // groups kept: those with the largest sum of their two best corrected scores
  bool normalize = true;  // divide a token's weights by their sum, which then must not be 0
  float scale = 1.0F;     // multiplies the weights, normalised or not
};

/// Local, host memory. For each token: score every expert (`logits`, fp32 `[tokens, experts]`), add `bias` (fp32
/// `[experts]`, may be undefined) for the choice only, keep the best groups, then the `top_k` best experts among them,
/// in descending corrected score, ties to the lower id. `ids` (int32 or int64) and `weights` (fp32) are `[tokens,
/// top_k]`. Weights are uncorrected scores. Logits and bias must be finite. Throws RY-INVALID-ARGUMENT.
RAILYARD_API void gate(ConstTensorView logits, ConstTensorView bias, const GateOptions& options, TensorView ids,
                       TensorView weights);

}  // namespace railyard
