// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace railyard::cli::bench {

/// What one GPU wrote to another, while every GPU wrote to one and was written to by one.
struct PairRate {
  int from = 0;
  int to = 0;
  double gbps = 0.0;
};

}  // namespace railyard::cli::bench
