// SPDX-License-Identifier: Apache-2.0
// Bootstrap between threads of one process.
#pragma once

#include "bootstrap/bootstrap.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace railyard::bootstrap {

/// The meeting point of `size` threads: one `Bootstrap` per rank, all of which share it.
[[nodiscard]] std::vector<std::shared_ptr<Bootstrap>> make_thread_bootstraps(int size);

}  // namespace railyard::bootstrap
