// SPDX-License-Identifier: Apache-2.0
// A rank that stood still while the others went on, and comes back.
#pragma once

#include "multi_rank/report.hpp"

#include <railyard/group.hpp>

namespace railyard::multi_rank {

/// It is told: that it is masked, or, if it comes when they have left, that nobody is there.
inline void expect_left_behind(const Place& place, Group& group) {
  try {
    static_cast<void>(group.recover());
    place.fail("the others have waited for a stopped rank");
  } catch (const Error& error) {
    place.require(error.code() == ErrorCode::masked || error.code() == ErrorCode::no_majority ||
                      error.code() == ErrorCode::aborted,
                  error.what());
  }
}

}  // namespace railyard::multi_rank
