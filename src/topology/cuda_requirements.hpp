// SPDX-License-Identifier: Apache-2.0
// What ranks need of GPUs and their driver, apart from asking for it. Everything here throws RY-UNSUPPORTED with what
// there is, what is needed and what to do.
#pragma once

namespace railyard::topology {

/// Versions of CUDA as it numbers them (12040: 12.4); 0: no driver.
void check_driver(int supported, int needed);

/// Kernels of ranks that share a GPU wait for each other, and streams that share one of a process's connections to it
/// run one after the other: each rank's stream needs its own. `variable`: CUDA_DEVICE_MAX_CONNECTIONS as CUDA reads it,
/// or null. Several ranks need all of the 32 that CUDA has at most, since callers have other streams besides, and
/// cannot be more than those.
void check_device_connections(int device, int ranks, const char* variable);

/// Whether `from` can load and store in the memory of `to`, and add atomically there.
void check_peer(int from, int to, bool access, bool atomics);

}  // namespace railyard::topology
