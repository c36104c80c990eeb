// SPDX-License-Identifier: Apache-2.0
// What a captured graph keeps alive.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

namespace railyard::symmetric_memory {

/// The graph that `stream` is being captured into, and every executable graph made from it, holds `objects` until the
/// last of them is destroyed and its replays are done. Throws RY-UNSUPPORTED with CUDA's words.
void keep_in_graph(cudaStream_t stream, std::shared_ptr<void> objects);

/// Lets go of what destroyed graphs have kept. A graph ends in a thread of the driver that may not call it, so objects
/// wait for this: called before each allocation and whenever a group is made.
void release_from_graphs() noexcept;

}  // namespace railyard::symmetric_memory
