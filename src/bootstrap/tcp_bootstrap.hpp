// SPDX-License-Identifier: Apache-2.0
// Bootstrap between processes, on one machine or several: a star of TCP connections through rank 0, or a process that
// is no rank.
#pragma once

#include "bootstrap/bootstrap.hpp"
#include "bootstrap/file_descriptor.hpp"
#include "diagnostics/log.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace railyard::bootstrap {

/// Where the ranks meet. The same on all ranks, but for `rank`.
struct TcpRendezvous {
  int rank = 0;
  int size = 1;
  std::string address;      // a name, or a number of IPv4 or IPv6, at which the others reach who listens
  std::uint16_t port = 0;   // there; 1 to 65535
  std::string secret = {};  // of this job; who presents another is refused. At most 256 bytes
  bool external = false;    // `railyard rendezvous` listens; else rank 0
};

/// Collective: returns once all ranks have connected; rank 0 listens, the others try again until they reach it. Errors:
///   RY-TIMEOUT           names the ranks that have not connected; takes this rank back, so that it may try again
///   RY-CONFIG-MISMATCH   rank 0 refuses this rank: another version, secret or world size, or the rank is there already
///   RY-INVALID-ARGUMENT  the arguments, or rank 0 cannot listen there
/// Where the rendezvous is external, read it for rank 0 in what follows, except as a rank: rank 0 is one like the
/// others.
///
/// The result's collectives are for small blocks: what one rank brings is at most 64 MiB, and all of it passes through
/// rank 0. A call that times out, or is cancelled, waits for rank 0's word that this rank's part is taken back. Should
/// that not come within a second, rank 0's process stands still, and the world is aborted here. When a rank's process
/// ends without destroying its object, all ranks' flags are raised with "rank N: its process has gone"; the assemblies
/// of those who are left go on, unless it was rank 0. A rank that destroys its object leaves in order: no flag is
/// raised, but collectives that are pending then, and later ones, end with RY-ABORTED "rank N has left"; once rank 0
/// has left, aborts and deaths are no longer passed on. An abort's reason names the rank that called it.
/// Nothing is encrypted: the secret keeps jobs apart, and whoever can read the network can take the place of a rank.
/// Rank 0 logs whom it refuses, and listens at `listener` if that is valid.
[[nodiscard]] std::shared_ptr<Bootstrap> make_tcp_bootstrap(const TcpRendezvous& rendezvous,
                                                            std::chrono::nanoseconds timeout,
                                                            std::shared_ptr<diagnostics::Log> log = nullptr,
                                                            FileDescriptor listener = {});

}  // namespace railyard::bootstrap
