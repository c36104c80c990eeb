// SPDX-License-Identifier: Apache-2.0
// What only the library's own tests may set, through GroupOptions::testing.
#pragma once

#include "transports/stage.hpp"

#include <cstdint>
#include <functional>

namespace railyard {

struct TestHooks {
  /// Epochs of both operation kinds start here (equal on all ranks): tests of wrap-around at 2^31 and 2^32.
  std::uint64_t first_epoch = 0;
  /// Called by the rank's thread when it enters a stage: tests delay ranks here, or throw to leave mid-operation.
  std::function<void(transports::Stage)> at_stage;
};

}  // namespace railyard
