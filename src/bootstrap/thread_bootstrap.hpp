// SPDX-License-Identifier: Apache-2.0
// Bootstrap between threads of one process.
#pragma once

#include "bootstrap/bootstrap.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace railyard::bootstrap {

/// The meeting point of `size` threads: one `Bootstrap` per rank, all of which share it. `abort` ends those of
/// `earlier` that are still alive too: groups made in an earlier run of the same world.
[[nodiscard]] std::vector<std::shared_ptr<Bootstrap>> make_thread_bootstraps(
    int size, std::vector<std::weak_ptr<Bootstrap>> earlier = {});

}  // namespace railyard::bootstrap
