// SPDX-License-Identifier: Apache-2.0
// A finished step against two computations that share nothing with the exchange: the reference's dispatch and combine,
// and the same layer computed densely, one token after the other, without ranks.
#pragma once

#include "cli/compare.hpp"
#include "cli/demo/exchange.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace railyard::cli::demo {

struct Verification {
  Comparison rows;      // what was received, against the reference, bit for bit
  Comparison combined;  // the output, against the reference's combine of the same expert outputs, bit for bit
  Comparison dense;     // tokens of the output, against the dense layer
  /// The largest error of an output element as a share of its bound; 0 where bits were compared.
  double largest_error = 0.0;

  [[nodiscard]] bool ok() const { return rows.equal() && combined.equal() && dense.equal(); }
  void add(const Verification& other);
};

/// With levels = none the output must equal the dense layer bit for bit. With levels = rank each rank's partial sum is
/// rounded to bf16 on its way, and the bound for an element with dense value d, magnitude S = sum |weight * y| and unit
/// roundoff u = 2^-8 is  u S  (the partials, whose magnitudes sum to at most S)  +  u (|d| + u S)  (the output's own
/// rounding)  +  2 (top_k + ranks + 2) 2^-24 S  (the fp32 sums on both sides).
/// The rows' own rounding by a codec is part of the layer: the dense side encodes and decodes each token once.
[[nodiscard]] Verification verify_step(const Options& options, const Layer& layer, const Exchange& exchange,
                                       std::string_view text, const std::vector<Slice>& slices);

}  // namespace railyard::cli::demo
