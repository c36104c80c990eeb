// SPDX-License-Identifier: Apache-2.0
// How one rank becomes part of a world: from the first attempt to connect until everyone is there.
#pragma once

#include "bootstrap/deadline.hpp"
#include "bootstrap/tcp_bootstrap.hpp"
#include "bootstrap/tcp_connection.hpp"

#include <chrono>

namespace railyard::bootstrap {

/// Connects to rank 0, or the external rendezvous, presents this rank, and waits for everyone until the deadline, which
/// is the end of `timeout`. Errors as `make_tcp_bootstrap`.
[[nodiscard]] Connection join_world(const TcpRendezvous& rendezvous, std::chrono::nanoseconds timeout,
                                    Clock::time_point deadline);

/// The same for rank 0, whose connection exists.
[[nodiscard]] Connection join_world(const TcpRendezvous& rendezvous, std::chrono::nanoseconds timeout,
                                    Clock::time_point deadline, FileDescriptor own_end);

}  // namespace railyard::bootstrap
