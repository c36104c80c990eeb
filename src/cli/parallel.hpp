// SPDX-License-Identifier: Apache-2.0
// Work that no measurement includes, spread over the cores.
#pragma once

#include <cstdint>
#include <functional>

namespace railyard::cli {

/// Calls `work(first, last)` on disjoint pieces of [0, count), from as many threads as there are cores. Of what `work`
/// throws, the first comes back once all threads have ended.
void parallel_for(std::int64_t count, const std::function<void(std::int64_t first, std::int64_t last)>& work);

}  // namespace railyard::cli
